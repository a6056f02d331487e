"""How a flow run is called and how it ends in Prefect's eyes."""

from __future__ import annotations

import json
from typing import Any

from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Cancelled

from flows.run_lifecycle import Result, Stopped
from tasks.flow_runs import INTERRUPTED


def flow_run_label() -> str:
    """The run that is resumed, or the name of the new one's spec."""
    parameters = flow_run.parameters
    spec = parameters.get("spec")
    name = spec.get("name") if isinstance(spec, dict) else getattr(spec, "name", None)
    return str(parameters.get("run_id") or name or "run")


def to_state(result: Result | Stopped) -> dict[str, Any] | State:
    """A result as plain data, or the state Cancelled where it was left without one.

    A run that is left for another driver ends as `INTERRUPTED`, to tell it from one that was to end.
    """
    if result is Stopped.CANCELLED:
        return Cancelled(message="Cancelled; what was in flight is settled, and nothing is held any more.")
    if result is Stopped.INTERRUPTED:
        message = "Asked to stop; the journal is intact and the run can be resumed."
        return Cancelled(name=INTERRUPTED, message=message)
    return json.loads(result.to_json())
