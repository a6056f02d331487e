"""Driving a run from the command line: Prefect's server beside the imports, the flow, all records settled."""

from __future__ import annotations

import contextlib
import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any
from uuid import UUID

from shotwise.home import Home
from shotwise.importing import without_collector
from shotwise.spec import RunSpec
from tasks.prefect_server import PrefectServer
from tasks.task_runs import flow_runs_driven, task_runs_of
from tasks.tracker import Tracker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from prefect import Flow

    from flows.terminal import ProgressLine


def drive(
    home: Home,
    spec: RunSpec,
    run_id: str | None,
    line: ProgressLine | None,
    on_entry: Callable[[str], None] | None = None,
) -> str:
    """Drive a new run of `spec`, or go on with `run_id`; the id of the run.

    `on_entry` hears the id of a new run as soon as it is in the journal. The server starts first and gets
    ready on another core while this process imports and builds the problem.

    Raises:
        ShotwiseError: as `flows.closed_loop.closed_loop`.
    """
    with prefect_server(home) as server:
        try:
            if not server.was_started_here:  # else both cores are busy: with its start and our imports
                Tracker.of(home)
            return _drive(home, server, spec, run_id, line, on_entry)
        finally:
            if line:
                line.end()


@contextlib.contextmanager
def prefect_server(home: Home) -> Iterator[PrefectServer]:
    """Prefect's server for the block, still getting ready: the team's, or one that ends with the block."""
    server = PrefectServer.start(home)
    try:
        server.apply_environment()
        enable_compilation_cache(home)
        yield server
    finally:
        server.stop()


@contextlib.contextmanager
def when_ready(server: PrefectServer) -> Iterator[None]:
    """Flows run within the block, once the server is ready."""
    from tasks.prefect_records import use_own_server, without_heartbeats

    server.wait()
    with contextlib.ExitStack() as stack:
        if server.is_own:
            use_own_server()
            stack.enter_context(without_heartbeats())  # goes to where tasks run, with the context
        yield


def _drive(
    home: Home,
    server: PrefectServer,
    spec: RunSpec,
    run_id: str | None,
    line: ProgressLine | None,
    on_entry: Callable[[str], None] | None,
) -> str:
    from tasks.telemetry import check_wanted

    check_wanted()
    if line:
        line.say(
            "building the problem; the run is entered after it ..."
            if run_id is None
            else "building the problem ..."
        )
    with without_collector():
        from ledger import Database, Journal
        from tasks.progress import entry_listener, progress_listener
        from tasks.readiness import check_ready

        flow = flow_of(spec)
    database = Database(home.database_url)
    check_ready(spec, database, new=run_id is None)
    if line:
        line.say("starting ...")
    Tracker.of(home)  # while the server gets ready on the other core
    with contextlib.ExitStack() as stack:
        stack.enter_context(when_ready(server))
        if line:
            stack.enter_context(progress_listener(line))
        if on_entry:
            stack.enter_context(entry_listener(on_entry))
        state = flow(spec=spec, run_id=run_id, return_state=True)
    flow_run_id = state.state_details.flow_run_id
    assert flow_run_id is not None, "a flow run has an id"
    for inner in flow_runs_driven():
        if inner != flow_run_id:
            await_records(inner)
    await_records(flow_run_id)
    if not state.is_cancelled():
        state.result()  # raises what the flow raised
    driven = Journal(database).run_of_flow(str(flow_run_id))
    assert driven is not None, "a flow that ended well has driven a run"
    return driven


def flow_of(spec: RunSpec) -> Flow[..., Any]:
    """The flow that runs a spec; only that one is imported."""
    return getattr(import_module(f"flows.{spec.flow}"), spec.flow)


def await_records(flow_run_id: UUID, task_run_ids: Iterable[UUID] | None = None) -> None:
    """See every record in Prefect's database before its server ends, and say so if one is missing.

    Args:
        task_run_ids: of the flow run; by default those that this process made.
    """
    import httpx

    from tasks.prefect_records import wait_for_records

    try:
        known = task_runs_of(flow_run_id) if task_run_ids is None else task_run_ids
        missing = bool(wait_for_records(flow_run_id, task_run_ids=known))
    except httpx.HTTPError:
        missing = True
    if missing:
        print("warning: Prefect's record of this run is incomplete; the journal is not", file=sys.stderr)


def enable_compilation_cache(home: Home) -> None:
    """Let JAX keep what it compiles in the state folder, so that the second run of a shape starts at once."""
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(home.compile_cache))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.05")
