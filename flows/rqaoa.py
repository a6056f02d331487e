"""The flow `rqaoa`: cuts and quadratic costs of many variables, by recursive elimination."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.elimination_loop import elimination_loop
from flows.outcome import flow_run_label, to_state
from shotwise.spec import RunSpec


@flow(name="rqaoa", flow_run_name=flow_run_label, persist_result=False)
def rqaoa(spec: RunSpec | None = None, run_id: str | None = None) -> Any:
    """Solve `spec` by elimination, or go on with `run_id` from its journal.

    Returns the result as plain data; the flow run ends as Cancelled where it was asked to stop.
    """
    return to_state(elimination_loop(spec, run_id))
