"""How often the final 95 % interval of whole runs covers the true energy of the final state.

python benchmarks/honesty.py [--runs 300]
"""

from __future__ import annotations

import argparse

import numpy as np
import pandas as pd
from molecule_runs import final_plans, iterate, ready

from tasks.evaluate import BatchResult, exact_energies
from tasks.result import final_from
from tasks.state import initial


def honesty(runs: int) -> pd.DataFrame:
    """How often the final 95 % interval covers the true energy of the final state."""
    rows = []
    for molecule, execution in (
        ("h2", "{mode: shots, policy: adaptive, target_std_error: 5.0e-3}"),
        ("heh_plus", "{mode: shots, policy: adaptive, target_std_error: 5.0e-3}"),
        ("h2", "{mode: shots, policy: adaptive, target_std_error: 1.6e-3}"),
        ("heh_plus", "{mode: shots, policy: adaptive, target_std_error: 1.6e-3}"),
        ("h2", "{mode: shots, shots: 1000}"),
    ):
        covered, achieved = 0, []
        for seed in range(runs):
            prepared = ready(molecule, seed, "{name: auto, max_iterations: 30}", execution)
            state = initial(prepared)
            for _, after in iterate(prepared):
                state = after
            plan = final_plans(prepared, state)[-1]
            final = final_from(prepared.at_end, state, BatchResult.free(plan, prepared.device.sample(plan)))
            exact = float(exact_energies(prepared, prepared.stage().circuit, state.parameters[None])[0])
            covered += abs(final.energy - exact) <= 1.96 * final.energy_std_error
            achieved.append(final.energy_std_error)
        rows.append(
            {
                "molecule": molecule,
                "execution": execution,
                "runs": runs,
                "covered %": 100 * covered / runs,
                "std error quartiles": np.quantile(achieved, [0.25, 0.5, 0.75]).round(6),
            }
        )
        print(rows[-1], flush=True)
    return pd.DataFrame(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--runs", type=int, default=300)
    print(honesty(parser.parse_args().runs).to_string(index=False))


if __name__ == "__main__":
    main()
