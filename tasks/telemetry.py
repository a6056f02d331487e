"""Traces of runs, where they are asked for: by OTEL_EXPORTER_OTLP_ENDPOINT, or SHOTWISE_TELEMETRY=file.

A run is one trace, however often it is resumed: its trace id and the ids of its iterations and jobs are
hashes of their names. So every call site says only where it belongs, in whatever thread or process it is:

    run ── drive                         one for each process that drove it
        ├─ segment                       free exact iterations
        └─ iteration ── plan, route, estimate, tell
                     └─ job ── submit, wait

Runs, iterations and jobs are told from the journal after they are committed, and again by the next driver
where one was killed. So every job that ended has its span; a backend keeps one of each id. Nothing here
imports OpenTelemetry before a trace is asked for.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

from ledger import Journal, Lease
from shotwise.errors import SpecError
from shotwise.home import Home
from tasks.progress import progress_listener

if TYPE_CHECKING:
    from tasks.traces import Traces

TELEMETRY_VARIABLE = "SHOTWISE_TELEMETRY"
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_OFF = nullcontext()

_traces: Traces | None = None


def span(
    name: str,
    run_id: str,
    *,
    iteration: int | None = None,
    token: str | None = None,
    **attributes: str | float,
) -> AbstractContextManager[object]:
    """A step of a run while the block lasts: of the job `token`, else of the iteration, else of the run."""
    if _traces is None:
        return _OFF
    return _traces.step(name, run_id, iteration, token, attributes)


@contextmanager
def tracing(home: Home, journal: Journal, lease: Lease) -> Iterator[None]:
    """Trace the drive of a run, if traces are asked for.

    Raises:
        SpecError: as `check_wanted`.
    """
    traces = _open(home)
    if traces is None:
        yield
        return
    from tasks.traces import RunTrace

    trace = RunTrace(traces, journal, lease)
    try:
        with progress_listener(trace), trace.drive():
            trace.repeat_earlier()
            yield
    finally:
        trace.end()


def check_wanted() -> str:
    """What SHOTWISE_TELEMETRY says; asked before a run is entered too, so that a slip leaves no failed run.

    Raises:
        SpecError: neither `file` nor `off`.
    """
    wanted = os.environ.get(TELEMETRY_VARIABLE, "")
    if wanted not in ("", "off", "file"):
        raise SpecError(TELEMETRY_VARIABLE, wanted, "unknown", "use `file`, `off`, or leave it unset")
    return wanted


def _open(home: Home) -> Traces | None:
    """Open the exporters once a process; their threads end with it."""
    global _traces
    wanted = check_wanted()
    to_server = any(os.environ.get(name) for name in _ENDPOINTS)
    if wanted == "off" or not (to_server or wanted == "file"):
        _traces = None
    elif _traces is None:
        from tasks.traces import Traces

        folder = home.root / "telemetry" if wanted == "file" else None
        _traces = Traces.open(folder, to_server=to_server, log=home.logs / "telemetry.log")
    return _traces
