"""How often the reported 95 % interval of one sampled energy covers the exact value.

    python benchmarks/coverage.py [--seeds 200] [--shots 2000]

Over every molecule of the examples and both simulators, at the Hartree-Fock state, halfway to the optimum,
and near it. A true 95 % interval stays within 92..98 % over 200 seeds in 94 % of such rows.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from backends import DEVICE_NAMES
from measurement import estimate
from shotwise.spec import load_spec
from tasks.advance import advance
from tasks.evaluate import answer_exactly, exact_energies, plan_energies
from tasks.prepare import prepare
from tasks.prepared import Prepared
from tasks.state import initial

EXAMPLES = Path(__file__).parents[1] / "examples"


def optimum(name: str) -> np.ndarray:
    """Parameters after 60 exact iterations."""
    prepared = prepare(load_spec(EXAMPLES / f"{name}.yaml", ["ansatz.kind=uccsd"]))
    state = initial(prepared)
    while state.reason is None and state.iteration < 60:
        state, _ = advance(prepared, state, answer_exactly(prepared, state))
    return state.parameters


def covered(prepared: Prepared, parameters: np.ndarray, seeds: int) -> float:
    """Share of seeds whose interval covers the exact energy."""
    circuit = prepared.stage().circuit
    angles = circuit.angles(parameters[None, :])
    exact = exact_energies(prepared, circuit, parameters[None, :])[0]
    inside, sigmas = 0, prepared.prior_variances.sigmas
    shots = np.array([prepared.shots_per_evaluation])
    for seed in range(seeds):
        plan = plan_energies(prepared, circuit, angles, shots, sigmas, (99, seed))
        found = estimate(plan, prepared.grouping, prepared.device.sample(plan))
        inside += abs(found.means[0] - exact) <= 1.96 * np.sqrt(found.variances[0])
    return inside / seeds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--shots", type=int, default=2000)
    arguments = parser.parse_args()
    print(f"coverage of the 95 % interval, {arguments.seeds} seeds, {arguments.shots} shots")
    print("problem      device      Hartree-Fock  halfway  near the optimum")
    for name in ("h2", "heh_plus", "lih_active"):
        best = optimum(name)
        for device in DEVICE_NAMES:
            execution = f"execution={{mode: shots, shots: {arguments.shots}, device: {device}}}"
            prepared = prepare(load_spec(EXAMPLES / f"{name}.yaml", ["ansatz.kind=uccsd", execution]))
            shares = [covered(prepared, factor * best, arguments.seeds) for factor in (0.0, 0.5, 1.0)]
            print(f"{name:12} {device:10} {shares[0]:12.1%} {shares[1]:9.1%} {shares[2]:10.1%}", flush=True)


if __name__ == "__main__":
    main()
