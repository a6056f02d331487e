"""The flow `qaoa`: the best cut, or the lowest quadratic cost, by alternating operators."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.closed_loop import closed_loop
from flows.outcome import flow_run_label, to_state
from shotwise.spec import RunSpec


@flow(name="qaoa", flow_run_name=flow_run_label, persist_result=False)
def qaoa(spec: RunSpec | None = None, run_id: str | None = None) -> Any:
    """Minimise the energy of `spec`, or go on with `run_id` from its journal.

    Returns the result as plain data; the flow run ends as Cancelled where it was asked to stop.
    """
    return to_state(closed_loop(spec, run_id))
