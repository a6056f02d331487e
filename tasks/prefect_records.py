"""What Prefect's database says of a run in the end: that everything is recorded, and nothing stays "Running".

Prefect 3 records task runs from events, which travel behind the run: from the client's queue over a websocket
into the server's queue. The journal is the truth; this module makes Prefect's picture agree with it.
"""

from __future__ import annotations

import concurrent.futures
import logging
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from uuid import UUID

from prefect._internal.concurrency.services import QueueService
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    TaskRunFilter,
    TaskRunFilterFlowRunId,
    TaskRunFilterId,
    TaskRunFilterState,
    TaskRunFilterStateType,
)
from prefect.client.schemas.objects import TERMINAL_STATES, StateType, TaskRun
from prefect.events.clients import PrefectEventsClient
from prefect.events.worker import EventsWorker
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
from prefect.states import Crashed

# The server's own limit on one page of an answer.
_PAGE_ROWS = 200
_POLL_S = 0.1
_FINAL = sorted(TERMINAL_STATES)
_OPEN = sorted(set(StateType) - TERMINAL_STATES)


@dataclass(frozen=True)
class Missing:
    """What is not in its final state in Prefect's database. False where nothing is missing."""

    flow_run_ids: frozenset[UUID] = frozenset()
    task_run_ids: frozenset[UUID] = frozenset()
    """Task runs that the caller named or Prefect knows of."""
    task_runs_unseen: int = 0
    """Task runs that the caller counted and Prefect has no row for."""

    def __bool__(self) -> bool:
        return bool(self.flow_run_ids or self.task_run_ids or self.task_runs_unseen)


def use_own_server() -> None:
    """Prepare Prefect's client for a server on this machine. Call once, before the first flow run.

    A server that died must not hold the run up: by default each event is tried for seven seconds, at the
    interpreter's exit too. Nor may the log queue report its troubles on the terminal, past all logging.
    """
    EventsWorker.set_client_override(PrefectEventsClient, reconnection_attempts=2)
    logging.raiseExceptions = False


def without_heartbeats() -> AbstractContextManager[object]:
    """Flow runs within send none: where nobody listens, as their end may take a second."""
    return temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None})


def wait_for_records(
    flow_run_id: UUID,
    *,
    task_runs: int = 0,
    task_run_ids: Iterable[UUID] = (),
    timeout_s: float = 20,
) -> Missing:
    """Wait until Prefect's database has this flow run and its task runs in their final states.

    Call after the flow function returned, from a thread without a running event loop, and before
    `PrefectServer.stop()`: what the client still has queued is sent first.

    Args:
        task_runs: how many the flow run must have at least: the caller's count of its task calls.
        task_run_ids: some that must be there, of this or of other flow runs.
        timeout_s: bounds the whole call, also against a server that no longer answers.

    Returns:
        What is still missing at the timeout.

    Raises:
        httpx.HTTPError: the server is gone.
    """
    deadline = time.monotonic() + timeout_s
    _send_queued(timeout_s)
    unsettled = set(task_run_ids)
    with get_client(sync_client=True) as client:
        while True:
            unsettled = _not_final(client, unsettled)
            open_count = _count(client, flow_run_id, _OPEN)
            unseen_count = max(0, task_runs - open_count - _count(client, flow_run_id, _FINAL))
            flow_state = client.read_flow_run(flow_run_id).state
            flow_open = flow_state is None or not flow_state.is_final()
            if not (unsettled or open_count or unseen_count or flow_open):
                return Missing()
            if time.monotonic() > deadline:
                break
            time.sleep(_POLL_S)
        still_open = {run.id for run in _task_runs(client, _of_flow_run(flow_run_id)) if not _is_final(run)}
        return Missing(
            flow_run_ids=frozenset({flow_run_id} if flow_open else ()),
            task_run_ids=frozenset(unsettled | still_open),
            task_runs_unseen=unseen_count,
        )


def close_stale(flow_run_ids: Iterable[UUID], message: str = "The process that drove this run ended.") -> int:
    """Set flow runs that a killed process left unfinished, and their task runs, to Crashed.

    Ids that Prefect does not know, and runs that did end, are left as they are.

    Returns:
        How many flow runs were closed.
    """
    closed = 0
    with get_client(sync_client=True) as client:
        for page in _pages(list(flow_run_ids)):
            flow_filter = FlowRunFilter(id=FlowRunFilterId(any_=page))
            for flow_run in client.read_flow_runs(flow_run_filter=flow_filter, limit=_PAGE_ROWS):
                if flow_run.state is not None and flow_run.state.is_final():
                    continue
                for task_run in _task_runs(client, _of_flow_run(flow_run.id)):
                    if not _is_final(task_run):
                        client.set_task_run_state(task_run.id, Crashed(message=message), force=True)
                client.set_flow_run_state(flow_run.id, Crashed(message=message), force=True)
                closed += 1
    return closed


def _send_queued(timeout_s: float) -> None:
    """Empty the client's queues of events and logs. The next event or log opens new ones."""
    waited = QueueService.drain_all(timeout=timeout_s, at_exit=False)
    if not isinstance(waited, tuple):
        raise RuntimeError("call wait_for_records from a thread without a running event loop")
    done: set[concurrent.futures.Future[bool]] = waited[0]
    for future in done:
        future.result()


def _not_final(client: SyncPrefectClient, task_run_ids: set[UUID]) -> set[UUID]:
    final: set[UUID] = set()
    for page in _pages(list(task_run_ids)):
        runs = _task_runs(client, TaskRunFilter(id=TaskRunFilterId(any_=page)))
        final |= {run.id for run in runs if _is_final(run)}
    return task_run_ids - final


def _count(client: SyncPrefectClient, flow_run_id: UUID, types: list[StateType]) -> int:
    """Counted by the server: reading the rows again and again would hold up their recording."""
    wanted = _of_flow_run(flow_run_id)
    wanted.state = TaskRunFilterState(type=TaskRunFilterStateType(any_=types))
    response = client.request("POST", "/task_runs/count", json={"task_runs": wanted.model_dump(mode="json")})
    return response.json()


def _of_flow_run(flow_run_id: UUID) -> TaskRunFilter:
    return TaskRunFilter(flow_run_id=TaskRunFilterFlowRunId(any_=[flow_run_id]))


def _task_runs(client: SyncPrefectClient, task_run_filter: TaskRunFilter) -> Iterator[TaskRun]:
    offset = 0
    while page := client.read_task_runs(task_run_filter=task_run_filter, limit=_PAGE_ROWS, offset=offset):
        yield from page
        offset += len(page)


def _is_final(task_run: TaskRun) -> bool:
    return task_run.state is not None and task_run.state.is_final()


def _pages(ids: list[UUID]) -> Iterator[list[UUID]]:
    for start in range(0, len(ids), _PAGE_ROWS):
        yield ids[start : start + _PAGE_ROWS]
