"""The flow `sweep`: independent runs side by side, each a run of its own in the journal.

Every point is entered before the first one runs, under an id that follows from the sweep's id and its spec. A
point is driven as a resumed run is, so a sweep that is run again goes on with what is not finished, and
neither the number of workers nor their order changes any result. A point that samples circuits has a flow run
of its own in Prefect, of an exact one its task run in the sweep's flow run tells enough.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import signal
import threading
from collections.abc import Sequence
from multiprocessing.connection import wait as wait_for_any
from typing import Any, Literal

import cloudpickle
from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.context import hydrated_context, serialize_context
from prefect.futures import wait
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from flows.session import flow_of
from flows.sweep_processes import open_pool
from ledger import Database, Journal, RunState
from shotwise.errors import CannotRunError, ShotwiseError
from shotwise.home import Home
from shotwise.spec import ExactExecution, RunSpec
from tasks.recording import without_recording
from tasks.run_records import spec_of
from tasks.sweep import point_row
from tasks.task_runs import task_runs_of
from tasks.tracker import Tracker

Runner = Literal["processes", "threads", "dask"]
RECORDS = "prefect"
"""Of a point's row: {flow run: its task runs}."""


def open_runner(kind: Runner, workers: int) -> TaskRunner[Any]:
    """Where points run: threads of this process, each waiting for a process of `worker_processes` where those
    are open, or a Dask cluster of processes.

    Raises:
        CannotRunError: Dask is not installed.
    """
    if kind != "dask":
        return ThreadPoolTaskRunner(max_workers=workers)
    try:
        from prefect_dask.task_runners import DaskTaskRunner
    except ImportError:
        remedy = "install it: pip install '.[dask]' in a checkout"
        raise CannotRunError("--runner", kind, "not installed", remedy) from None
    local = {"n_workers": workers, "threads_per_worker": 1, "dashboard_address": None}
    return DaskTaskRunner(cluster_kwargs=local)


@functools.cache
def end_with_parent() -> None:
    """Let this process die with the one that started it, once: an orphan would keep its run's lease for ever.

    The sweep's own process, where points run in threads, goes on.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_die_after, args=(parent.sentinel,), name="parent", daemon=True).start()


def _die_after(sentinel: int) -> None:
    """As by `kill -9`, whatever the main thread does: the journal makes any kill safe."""
    wait_for_any([sentinel])
    os.kill(os.getpid(), signal.SIGKILL)


def drive_point(run_id: str) -> dict[str, Any]:
    """Drive one run to its end; what became of it, errors included, so that the others go on.

    Nothing here waits for Prefect's database: under `RECORDS` the row says what it must come to hold. A plain
    function, because it goes to other processes by its name; the flows that it calls cannot.
    """
    end_with_parent()
    journal = Journal(Database(Home.from_environment().database_url))
    record = journal.run(run_id)
    told: dict[str, Any] = {}
    if record.state is not RunState.COMPLETED:
        spec = spec_of(record)
        Tracker.defer_ends()
        try:
            if isinstance(spec.execution, ExactExecution):
                with without_recording():
                    flow_of(spec).fn(run_id=run_id)
            else:
                _drive_recorded(spec, run_id, told)
        except ShotwiseError as error:
            return told | point_row(journal.run(run_id), str(error))
        record = journal.run(run_id)
    return told | point_row(record)


def _drive_recorded(spec: RunSpec, run_id: str, told: dict[str, Any]) -> None:
    """Drive a run in a flow run of its own, which `told` names however it ends."""
    state = flow_of(spec)(run_id=run_id, return_state=True)
    flow_run_id = state.state_details.flow_run_id
    if flow_run_id is not None:
        told[RECORDS] = {str(flow_run_id): [str(each) for each in task_runs_of(flow_run_id)]}
    if not state.is_cancelled():
        state.result()


@task(name="sweep-point", task_run_name="sweep-point {run_id}", cache_policy=NO_CACHE, persist_result=False)
def run_point(run_id: str) -> dict[str, Any]:
    """One point of a sweep, in one of its processes where it has any."""
    pool = open_pool()
    if pool is None:
        return drive_point(run_id)
    return pool.submit(_drive_within, cloudpickle.dumps(serialize_context()), run_id).result()


def _drive_within(context: bytes, run_id: str) -> dict[str, Any]:
    """`drive_point` in another of our processes, as part of the flow and task run that `context` is.

    Prefect's context holds the flow itself, which the standard library cannot pickle.
    """
    with hydrated_context(cloudpickle.loads(context)):
        return drive_point(run_id)


@flow(name="sweep", flow_run_name="{sweep_id}", persist_result=False)
def sweep(sweep_id: str, run_ids: Sequence[str]) -> list[dict[str, Any]]:
    """Drive the runs that `enter_runs` made, over this flow's task runner; one row a run, in order."""
    futures = [run_point.submit(run_id) for run_id in run_ids]
    wait(futures)
    return [
        _failed(run_id, future.state.message) if future.state.is_failed() else future.result()
        for run_id, future in zip(run_ids, futures, strict=True)
    ]


def _failed(run_id: str, message: str | None) -> dict[str, Any]:
    """The row of a point whose process was lost, whatever the journal says of it yet."""
    record = Journal(Database(Home.from_environment().database_url)).run(run_id)
    return point_row(record, message) | {"state": RunState.FAILED}
