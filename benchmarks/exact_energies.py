"""Exact runs of the shipped examples: energy above the reference, iterations, seconds.

python benchmarks/exact_energies.py
"""

from __future__ import annotations

import time
from pathlib import Path

from shotwise.spec import load_spec
from tasks.advance import advance
from tasks.evaluate import answer_exactly
from tasks.prepare import prepare
from tasks.result import build_result, final_exact
from tasks.state import initial

EXAMPLES = Path(__file__).parents[1] / "examples"
NAMES = (
    "h2",
    "heh_plus",
    "lih_active",
    "lih_full",
    "h4_chain",
    "maxcut_3regular",
    "maxcut_weighted",
    "portfolio_qubo",
)


def main() -> None:
    print("example            qubits  parameters  iterations  seconds  reason           result")
    for name in NAMES:
        started = time.perf_counter()
        prepared = prepare(load_spec(EXAMPLES / f"{name}.yaml"))
        state = initial(prepared)
        while state.reason is None:
            state, _ = advance(prepared, state, answer_exactly(prepared, state))
        final = final_exact(prepared, state)
        result = build_result(prepared, name, state.with_sample(final.sample), final)
        if result.bitstring is None:
            found = f"{1e3 * (result.error or 0):.4f} mHa above {result.reference_method}"
        else:
            found = f"best {result.best_value:.6g}, {result.reference_method} {result.reference_energy:.6g}"
        print(
            f"{name:18} {prepared.problem.n_qubits:6} {len(final.parameters):11} {result.iterations:11}"
            f" {time.perf_counter() - started:8.1f}  {result.reason:16} {found}",
            flush=True,
        )


if __name__ == "__main__":
    main()
