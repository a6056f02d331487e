"""The flow `scan`: a curve of runs, each of which starts where its neighbour ended."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.outcome import flow_run_label, to_state
from flows.scan_loop import scan_loop
from shotwise.spec import RunSpec


@flow(name="scan", flow_run_name=flow_run_label, persist_result=False)
def scan(spec: RunSpec | None = None, run_id: str | None = None) -> Any:
    """Run the points of `spec` one after the other, or go on with `run_id` from its journal.

    Returns the curve as plain data; the flow run ends as Cancelled where it was asked to stop.
    """
    return to_state(scan_loop(spec, run_id))
