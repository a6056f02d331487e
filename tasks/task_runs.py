"""The task runs that this process has made, by flow run: what Prefect's database must come to hold.

Imports nothing of the loop, so that who only waits for records need not load it.
"""

from __future__ import annotations

from uuid import UUID

_made: dict[UUID, set[UUID]] = {}


def note_task_run(flow_run_id: UUID, task_run_id: UUID) -> None:
    """Count a task run of a flow run."""
    _made.setdefault(flow_run_id, set()).add(task_run_id)


def task_runs_of(flow_run_id: UUID) -> frozenset[UUID]:
    """The task runs of a flow run."""
    return frozenset(_made.get(flow_run_id, ()))


def flow_runs_driven() -> tuple[UUID, ...]:
    """The flow runs that have made task runs, those inside other flow runs included."""
    return tuple(_made)
