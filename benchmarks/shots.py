"""Shots and money to chemical accuracy, by the ways people take today and by Shotwise's.

    python benchmarks/shots.py reach [--seeds 20] [--molecules h2 heh_plus lih_active] [--contenders NAME ...]
    python benchmarks/shots.py ends [--seeds 20] [--molecules h2 heh_plus lih_active] [--a-task-a-circuit]

`reach`: shots at the device until the true energy of the current parameters is within 1.6 mHa of FCI, from
Hartree-Fock, sampling ideal, all contenders in one run; medians and quartiles. Money is that of the same
runs at $0.30 a task and $0.00145 a shot: with a task for every circuit, and with up to 100 circuits of equal
shots a task, Braket's program sets. `h2/spatial` is `h2` without the amplitudes that its symmetry forbids,
for every contender.

`ends`: the same money for whole runs of the default optimizer, told of the fees, that ask for a standard
error of 1.6 mHa: until the optimization ends by itself, and for the final evaluation. In program sets, or
with a task for every circuit.

Contenders outside Shotwise are written out in `pennylane_ways`. The others are Shotwise's own, driven through
its loop with real counts; `fees`: told of the fees of a task a circuit; `sets`: told of those of program
sets, and measured in them, so that their shots are those bought.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
from molecule_runs import (
    ACCURACY,
    PROGRAM_SETS,
    SINGLE_CIRCUITS,
    Bill,
    above_reference,
    final_plans,
    iterate,
    priced,
    ready,
)
from pennylane_ways import Reached, adam, rosalin, shots_max

from backends.catalog import DeviceDescription
from tasks.state import initial

Contender = Callable[[str, int], Reached]
ADAPTIVE = "{mode: shots, policy: adaptive}"
FIXED = "{mode: shots, shots: 200}"


def own(optimizer: str, execution: str = ADAPTIVE, told: DeviceDescription | None = None) -> Contender:
    """One of Shotwise's optimizers, told of a device's fees."""

    def run(molecule: str, seed: int) -> Reached:
        prepared = ready(molecule, seed, f"{{name: {optimizer}, max_iterations: 3000}}", execution)
        prepared = priced(prepared, told) if told else prepared
        bill = Bill()
        for plan, state in iterate(prepared, PROGRAM_SETS if told is PROGRAM_SETS else None):
            bill.add(plan.shots)
            if above_reference(prepared, state) < ACCURACY:
                reached = Reached.by(bill)
                return replace(reached, shots=bill.set_shots) if told is PROGRAM_SETS else reached
            if bill.shots > shots_max(molecule):
                break
        return Reached()

    return run


CONTENDERS: dict[str, Contender] = {
    "adam 100": adam(100),
    "adam 1000": adam(1000),
    "adam 10000": adam(10_000),
    "rosalin": rosalin,
    "spsa": own("spsa", FIXED),
    "spsa, fees": own("spsa", FIXED, SINGLE_CIRCUITS),
    "spsa, sets": own("spsa", FIXED, PROGRAM_SETS),
    "icans": own("icans"),
    "gcans": own("gcans"),
    "cost_cans, fees": own("cost_cans", ADAPTIVE, SINGLE_CIRCUITS),
    "cost_cans, sets": own("cost_cans", ADAPTIVE, PROGRAM_SETS),
    "bayes_newton": own("bayes_newton"),
    "bayes_newton, fees": own("bayes_newton", ADAPTIVE, SINGLE_CIRCUITS),
    "bayes_newton, sets": own("bayes_newton", ADAPTIVE, PROGRAM_SETS),
}


def reach(seeds: int, molecules: list[str], contenders: list[str]) -> pd.DataFrame:
    rows = []
    for molecule in molecules:
        for name in contenders:
            run = CONTENDERS[name]
            found = [run(molecule, seed) for seed in range(seeds)]
            shots = np.array([r.shots for r in found])
            usd, set_usd = np.array([r.usd for r in found]), np.array([r.set_usd for r in found])
            low, median, high = np.quantile(shots, [0.25, 0.5, 0.75], method="nearest")
            rows.append(
                {
                    "molecule": molecule,
                    "contender": name,
                    "shots q1": low,
                    "shots median": median,
                    "shots q3": high,
                    "usd": round(float(np.quantile(usd, 0.5, method="nearest")), 2),
                    "usd, sets": round(float(np.quantile(set_usd, 0.5, method="nearest")), 2),
                    "reached": f"{np.isfinite(shots).sum()}/{seeds}",
                }
            )
            print(rows[-1], flush=True)
    return pd.DataFrame(rows)


def ends(seeds: int, molecules: list[str], *, in_sets: bool) -> pd.DataFrame:
    """What whole runs to chemical accuracy take, and where they end; medians."""
    rows = []
    jobs = PROGRAM_SETS if in_sets else None
    execution = "{mode: shots, policy: adaptive, target_std_error: 1.6e-3}"
    for molecule in molecules:
        runs = []
        for seed in range(seeds):
            prepared = ready(molecule, seed, "{name: auto, max_iterations: 300}", execution)
            prepared = priced(prepared, jobs or SINGLE_CIRCUITS)
            state, steps, final = initial(prepared), Bill(), Bill()
            for plan, after in iterate(prepared, jobs):
                state = after
                steps.add(plan.shots)
            for plan in final_plans(prepared, state, jobs):
                final.add(plan.shots)
            runs.append(
                {
                    "iterations": state.iteration,
                    "shots": steps.set_shots if in_sets else steps.shots,
                    "steps USD": steps.set_usd if in_sets else steps.usd,
                    "final USD": final.set_usd if in_sets else final.usd,
                    "mHa above FCI": 1e3 * above_reference(prepared, state),
                }
            )
        medians = {column: np.median([run[column] for run in runs]) for column in runs[0]}
        errors = [run["mHa above FCI"] for run in runs]
        late = f"{sum(error > 1e3 * ACCURACY for error in errors)}/{seeds}"
        rows.append({"molecule": molecule, **medians, "worst mHa": max(errors), "above 1.6 mHa": late})
        print(rows[-1], flush=True)
    return pd.DataFrame(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=("reach", "ends"))
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--molecules", nargs="+", default=["h2", "heh_plus", "lih_active"])
    parser.add_argument("--contenders", nargs="+", default=list(CONTENDERS), choices=list(CONTENDERS))
    parser.add_argument("--a-task-a-circuit", action="store_true")
    given = parser.parse_args()
    if given.what == "ends":
        table = ends(given.seeds, given.molecules, in_sets=not given.a_task_a_circuit)
    else:
        table = reach(given.seeds, given.molecules, given.contenders)
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()
