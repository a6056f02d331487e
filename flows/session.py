"""Running a flow from the command line: the Prefect server beside the imports, the run, everything settled."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from shotwise.home import Home
from shotwise.spec import QaoaAnsatz, RunSpec
from tasks.prefect_server import PrefectServer

if TYPE_CHECKING:
    from flows.terminal import ProgressLine

_SETTLE_S = 30.0


def drive(home: Home, spec: RunSpec, run_id: str | None, line: ProgressLine | None) -> str:
    """Drive a new run of `spec`, or go on with `run_id`; the id of the run.

    The server starts first and gets ready on another core while this process imports and builds the problem.

    Raises:
        ShotwiseError: as `flows.closed_loop.closed_loop`.
    """
    server = PrefectServer.start(home)
    try:
        server.apply_environment()
        _compile_once(home)
        return _drive(server, spec, run_id, line)
    finally:
        if line:
            line.end()
        server.stop()


def _drive(server: PrefectServer, spec: RunSpec, run_id: str | None, line: ProgressLine | None) -> str:
    from tasks.prepare import prepare
    from tasks.progress import watching

    if line:
        line.say("building the problem ...")
    prepare(spec)
    if line:
        line.say("starting ...")
    from flows.qaoa import qaoa
    from flows.vqe import vqe
    from tasks.prefect_records import settle_records

    flow = qaoa if isinstance(spec.ansatz, QaoaAnsatz) else vqe
    server.wait()
    with watching(line) if line else contextlib.nullcontext():
        state = flow(spec=spec, run_id=run_id, return_state=True)
    settle_records(state)
    state.result()
    return run_id


def _compile_once(home: Home) -> None:
    """Keep JAX's compiled programs in the state folder, so that the second run of a shape starts at once."""
    import os

    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(home.compile_cache))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.05")
