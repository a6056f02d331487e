"""Mitigated against plain energies on calibrated noisy devices, at equal total shots.

    python benchmarks/mitigation.py [--seeds 5] [--shots 20000] [--devices sim-manila ...] [--problems H2]

H2 and HeH+ (UCCSD, at the exact optimum of its parameters), every device by itself. `none` spends all shots
on the energy; `auto` spends a part of the same shots on a readout calibration where it picks one. The error
is that of the measured energy against FCI; a column gives the median of its size over seeds. `auto` picks
from the device's calibration and the transpiled circuit alone, before anything runs. `cost` is the money of
the mitigated energy, calibration and all, over that of the plain one, at the prices of the catalog.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import jax
import numpy as np
from scipy.optimize import minimize

from backends.fleet import Fleet
from measurement import ExecutionPlan, allocate, estimate
from measurement.mitigation import Piece, ReadoutErrors, calibration_plan
from shotwise.spec import validate
from tasks.evaluate import exact_energies
from tasks.mitigation import MitigatedPart, choice
from tasks.prepare import prepare
from tasks.prepared import Prepared

PROBLEMS = {
    "H2": {"kind": "molecule", "geometry": "H 0 0 0; H 0 0 0.7414"},
    "HeH+": {"kind": "molecule", "geometry": "He 0 0 0; H 0 0 1.463", "units": "bohr", "charge": 1},
}
DEVICES = (
    "sim-manila", "sim-lima", "sim-belem", "sim-quito", "sim-bogota", "sim-santiago", "sim-nairobi",
    "sim-oslo", "sim-jakarta", "sim-casablanca", "sim-guadalupe", "sim-kolkata", "sim-sherbrooke",
    "sim-torino",
)  # fmt: skip
CALIBRATION_SHARE = 0.2


@dataclass(frozen=True)
class Row:
    """One problem on one device; errors in mHa, a seed each."""

    problem: str
    device: str
    success: float
    picked: str
    plain: tuple[float, ...]
    mitigated: tuple[float, ...]
    std_error: float
    cost: float

    @property
    def ratio(self) -> float:
        return float(np.median(np.abs(self.plain)) / np.median(np.abs(self.mitigated)))


def main() -> None:
    jax.config.update("jax_enable_x64", True)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--shots", type=int, default=20_000)
    parser.add_argument("--devices", nargs="+", default=DEVICES)
    parser.add_argument("--problems", nargs="+", default=list(PROBLEMS), choices=list(PROBLEMS))
    options = parser.parse_args()
    rows = []
    print("| problem | device | success | auto picked | none, mHa | auto, mHa | std, mHa | gain | cost |")
    print("|---|---|---|---|---|---|---|---|---|")
    for problem in options.problems:
        prepared = prepared_for(problem, options.devices)
        angles = best_angles(prepared)
        for device in options.devices:
            row = compare(prepared, problem, device, angles, options.shots, options.seeds)
            rows.append(row)
            print(_line(row), flush=True)
    for problem in options.problems:
        gains = [row.ratio for row in rows if row.problem == problem]
        print(
            f"\n{problem}: median gain {np.median(gains):.1f}, least {min(gains):.2f}, devices {len(gains)}"
        )


def prepared_for(problem: str, devices: list[str]) -> Prepared:
    spec = {
        "name": "mitigation",
        "problem": PROBLEMS[problem],
        "ansatz": {"kind": "uccsd"},
        "execution": {
            "mode": "shots", "shots": 10_000, "policy": "balanced", "devices": list(devices),
            "mitigation": "auto",
        },
    }  # fmt: skip
    return prepare(validate(spec))


def best_angles(prepared: Prepared) -> np.ndarray:
    """Rotation angles at the exact optimum, shape (1, rotations)."""
    circuit = prepared.stage().circuit

    def energy(parameters: np.ndarray) -> float:
        return float(exact_energies(prepared, circuit, parameters[None, :])[0])

    return circuit.angles(minimize(energy, np.zeros(circuit.n_parameters), method="BFGS").x[None, :])


def compare(prepared: Prepared, problem: str, device: str, angles: np.ndarray, shots: int, seeds: int) -> Row:
    fleet, reference = prepared.fleet, prepared.problem.reference
    assert fleet is not None
    assert reference is not None
    found, _ = choice(prepared, device, plan_of(prepared, angles, shots, (0,)))
    treatment = found.chosen.treatment if found else None
    plain, mitigated, std_errors = [], [], []
    for seed in range(seeds):
        whole = plan_of(prepared, angles, shots, (seed, 1))
        plain.append(estimate(whole, prepared.grouping, sample(fleet, device, whole)).means[0])
        if treatment is None:
            mitigated.append(plain[-1])
            continue
        errors, spent = ReadoutErrors.none(prepared.problem.n_qubits), 0
        if treatment.readout:
            calibration = calibration_plan(whole, int(CALIBRATION_SHARE * shots), (seed, 2))
            errors = ReadoutErrors.from_calibration(calibration, sample(fleet, device, calibration))
            spent = calibration.shots_total
        expanded = treatment.expand(plan_of(prepared, angles, shots - spent, (seed, 3)))
        piece = Piece(expanded, sample(fleet, device, expanded), errors)
        estimates = MitigatedPart(treatment, (piece,), "").estimates(prepared)
        mitigated.append(estimates.means[0])
        std_errors.append(np.sqrt(estimates.variances[0]))
    noise = fleet.noise(device, plan_of(prepared, angles, shots, (0,)))
    extrapolation = treatment.extrapolation.name if treatment else "none"
    names = " + ".join(treatment.names if treatment else ()) or "none"
    return Row(
        problem,
        device,
        noise[0].success if noise else 1.0,
        names if extrapolation == "none" else f"{names} ({extrapolation})",
        tuple(1e3 * (np.array(plain) - reference.energy)),
        tuple(1e3 * (np.array(mitigated) - reference.energy)),
        1e3 * float(np.median(std_errors)) if std_errors else 0.0,
        cost_ratio(prepared, device, angles, shots),
    )


def cost_ratio(prepared: Prepared, device: str, angles: np.ndarray, shots: int) -> float:
    """Money of the mitigated energy, its calibration included, over that of the plain one."""
    fleet = prepared.fleet
    assert fleet is not None
    whole = plan_of(prepared, angles, shots, (0,))
    found, _ = choice(prepared, device, whole)
    if found is None:
        return 1.0
    treatment, spent, cost = found.chosen.treatment, 0, 0
    if treatment.readout:
        calibration = calibration_plan(whole, int(CALIBRATION_SHARE * shots), (0,))
        spent, cost = calibration.shots_total, fleet.quote_micro_usd(device, calibration)
    cost += fleet.quote_micro_usd(device, treatment.expand(plan_of(prepared, angles, shots - spent, (0,))))
    return cost / max(fleet.quote_micro_usd(device, whole), 1)


def plan_of(prepared: Prepared, angles: np.ndarray, shots: int, seed: tuple[int, ...]) -> ExecutionPlan:
    """One energy with its shots shared by the groups' weights."""
    weights = prepared.grouping.weights
    groups = np.arange(len(weights))
    return ExecutionPlan(
        prepared.stage().circuit,
        angles,
        prepared.grouping.bases,
        np.zeros_like(groups),
        groups,
        allocate(shots, weights),
        seed,
    )


def sample(fleet: Fleet, device: str, plan: ExecutionPlan):
    """Straight from the device that the catalog opens."""
    return fleet.provider(device).device.sample(plan)  # pyright: ignore[reportAttributeAccessIssue]


def _line(row: Row) -> str:
    plain, mitigated = (np.median(np.abs(errors)) for errors in (row.plain, row.mitigated))
    return (
        f"| {row.problem} | {row.device} | {row.success:.2f} | {row.picked} | {plain:.0f} | {mitigated:.1f} "
        f"| {row.std_error:.1f} | {row.ratio:.1f} | {row.cost:.2f} |"
    )


if __name__ == "__main__":
    main()
