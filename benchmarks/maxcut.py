"""MaxCut on 3-regular graphs: sampled QAOA at n = 16, recursive QAOA at n = 100.

    python benchmarks/maxcut.py [--seeds 20]

Sampled QAOA: p = 3, fixed angles, 1000 shots an energy, SPSA on the mean and on CVaR (alpha 0.2); one graph a
seed. Beside it, what as many uniformly random bitstrings find, since 65,536 states are soon guessed through.
Recursive QAOA: one graph a seed, its own cut and after single flips, against Goemans-Williamson with single
flips from 1000 hyperplanes.
"""

from __future__ import annotations

import argparse

import numpy as np

from optimizers import Reason
from problems import Elimination, goemans_williamson
from shotwise.spec import RunSpec, validate
from tasks.advance import advance
from tasks.evaluate import BatchResult, answer_from, plan_iteration
from tasks.prepare import prepare
from tasks.recursion import eliminate, is_done, prepare_recursion, recursion_result
from tasks.result import build_result, final_from, final_plan
from tasks.state import initial

ITERATIONS = 20


def spec_of(nodes: int, seed: int, **sections: object) -> RunSpec:
    generator = {"name": "random_regular", "degree": 3, "nodes": nodes, "seed": seed}
    return validate({"problem": {"kind": "maxcut", "generator": generator}, "seed": seed, **sections})


def sampled(seed: int, objective: dict) -> tuple[int | None, float, float, int]:
    """(shots until the optimum was seen, final mean ratio, share of optimal states, shots in all)."""
    prepared = prepare(
        spec_of(
            16,
            seed,
            ansatz={"kind": "qaoa", "layers": 3},
            optimizer={"name": "spsa", "max_iterations": ITERATIONS, "options": {"a": 0.05, "c": 0.1}},
            execution={"mode": "shots", "shots": 1000},
            objective=objective,
        )
    )
    reference = prepared.problem.reference
    assert reference is not None
    assert reference.ground is not None
    state, found = initial(prepared), None
    while state.reason is None:
        plan = plan_iteration(prepared, state)
        measured = BatchResult.free(plan, prepared.device.sample(plan))
        state, _ = advance(prepared, state, answer_from(prepared, state, measured))
        if found is None and state.sample is not None and state.sample.energy <= reference.energy + 1e-9:
            found = state.shots
    plan = final_plan(prepared, state)
    final = final_from(prepared, state, BatchResult.free(plan, prepared.device.sample(plan)))
    result = build_result(prepared, "benchmark", state, final)
    assert result.energy is not None
    return found, result.energy / reference.energy, len(reference.ground.support) / 2**16, state.shots


def recursive(seed: int) -> tuple[float, float]:
    """(its own cut, the cut after single flips) over the Goemans-Williamson cut."""
    recursion = prepare_recursion(spec_of(100, seed, ansatz={"kind": "rqaoa"}))
    best = goemans_williamson(recursion.model, hyperplanes=1000).energy
    state = Elimination.of(recursion.model)
    while not is_done(recursion, state):
        state, _ = eliminate(recursion, state)
    result = recursion_result(recursion, "benchmark", state, Reason.CONVERGED)
    assert result.energy is not None
    assert result.best_value is not None
    return result.energy / best, result.best_value / best


def quartiles(values: list[float]) -> str:
    low, middle, high = np.percentile(values, [25, 50, 75])
    return f"{middle:.4g} ({low:.4g} to {high:.4g})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    seeds = range(parser.parse_args().seeds)
    for objective in ({"kind": "expectation"}, {"kind": "cvar", "alpha": 0.2}):
        rows = [sampled(seed, objective) for seed in seeds]
        hits = [row[0] for row in rows if row[0] is not None]
        print(f"n = 16, p = 3, {objective['kind']}: optimum found in {len(hits)} of {len(rows)} seeds")
        print(f"  shots when first seen: {quartiles([float(h) for h in hits])}")
        print(f"  mean cut over the optimum at the end: {quartiles([row[1] for row in rows])}")
        guessed = [1 - (1 - share) ** 2000 for _, _, share, _ in rows]
        print(f"  2000 uniform guesses would find it with probability {quartiles(guessed)}", flush=True)
    ratios = [recursive(seed) for seed in seeds]
    for name, values in zip(("its own cut", "after single flips"), zip(*ratios, strict=True), strict=True):
        print(f"n = 100, recursive, {name}: {quartiles(list(values))}, least {min(values):.4f}")


if __name__ == "__main__":
    main()
