"""What a run that minimises a CVaR tells of its iterations is never called the energy."""

import pandas as pd

from ledger import IterationRecord
from tasks.convergence import iteration_table
from tasks.progress import Progress
from tasks.run_records import minimises_tail
from tasks.tracked_values import iteration_metrics

RECORD = IterationRecord(0, 1_000_000, -19.4, 0.07, None, None, 1, 100, 0, b"")


def test_a_tail_is_called_so_in_tables_and_metrics() -> None:
    assert minimises_tail({"objective": {"kind": "cvar", "alpha": 0.2}})
    assert not minimises_tail({"objective": {"kind": "expectation"}})
    assert not minimises_tail({})
    table: pd.DataFrame = iteration_table([RECORD], tail=True)
    assert {"cvar", "cvar_std_error"} <= set(table)
    assert "energy" not in table
    assert "energy" in iteration_table([RECORD])
    metrics = iteration_metrics(RECORD, {"shots": 100, "cost_micro_usd": 0}, tail=True)
    assert metrics["cvar"] == -19.4
    assert "energy" not in metrics


def test_a_tail_is_called_so_while_it_is_watched() -> None:
    progress = Progress("cut-1", 1, 9, -19.4, 0.07, None, "", 100, 0, quantity="CVaR")
    assert "  CVaR -19.4" in progress.line()
