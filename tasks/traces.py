"""Spans made and exported by OpenTelemetry; imported only where traces are asked for (`tasks.telemetry`)."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    Status,
    StatusCode,
    TraceFlags,
    Tracer,
    set_span_in_context,
)

from ledger import JobPhase, Journal, Lease, RunState
from ledger.statistics import JobStatistics, job_statistics
from tasks.failure import reason_as_told
from tasks.progress import Progress
from tasks.run_records import spec_fields
from tasks.trace_file import RUN_ID, FileExporter
from tasks.trace_ids import span_id, trace_id

_FLUSH_EVERY_MS = 1000
_FLUSH_MS_MAX = 5000
_QUEUE_MAX = 8192
_FLUSH_AFTER_JOBS = 2048


class Traces:
    """Where spans go: made on the spot, exported by a thread beside the loop."""

    def __init__(self, provider: TracerProvider, ids: _Ids) -> None:
        self.provider, self.ids = provider, ids
        self.tracer: Tracer = provider.get_tracer("shotwise")

    @classmethod
    def open(cls, folder: Path | None, *, to_server: bool, log: Path) -> Traces:
        """Export to files in `folder`, to the OTLP server that the environment names, or to both.

        What OpenTelemetry itself has to complain of goes to `log`.
        """
        _log_to(log)
        ids = _Ids()
        resource = Resource.create({"service.name": "shotwise", "service.version": version("shotwise")})
        provider = TracerProvider(ALWAYS_ON, resource, id_generator=ids)
        exporters: list[SpanExporter] = [] if folder is None else [FileExporter(folder)]
        if to_server:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

            exporters.append(OTLPSpanExporter(timeout=_FLUSH_MS_MAX // 1000))
        for exporter in exporters:
            provider.add_span_processor(
                BatchSpanProcessor(exporter, max_queue_size=_QUEUE_MAX, schedule_delay_millis=_FLUSH_EVERY_MS)
            )
        return cls(provider, ids)

    @contextmanager
    def step(
        self,
        name: str,
        run_id: str,
        iteration: int | None,
        token: str | None,
        attributes: Mapping[str, str | float],
    ) -> Iterator[Span]:
        """A live span. Of an exception only its type is kept: messages may hold what is not for everyone."""
        parent = ("job", token) if token else () if iteration is None else ("iteration", iteration)
        known = {"iteration": iteration, "job.token": token, **attributes}
        started = self.tracer.start_span(name, _below(run_id, *parent), attributes=_attributes(run_id, known))
        try:
            yield started
        except BaseException as error:
            started.set_status(Status(StatusCode.ERROR, type(error).__name__))
            raise
        finally:
            started.end()

    def emit_span(
        self,
        name: str,
        run_id: str,
        path: Sequence[object],
        parent: Sequence[object] | None,
        times_us: tuple[int, int],
        attributes: Mapping[str, Any],
        *,
        events: Mapping[str, int | None] | None = None,
        error: str | None = None,
    ) -> None:
        """A span of the past, under the id that its path gives it; `parent` is None for the run itself."""
        with self.ids.pinned(trace_id(run_id), span_id(run_id, *path)):
            told = self.tracer.start_span(
                name,
                set_span_in_context(NonRecordingSpan(_NOWHERE))
                if parent is None
                else _below(run_id, *parent),
                start_time=times_us[0] * 1000,
                attributes=_attributes(run_id, attributes),
            )
        for event, at_us in (events or {}).items():
            if at_us is not None:
                told.add_event(event, timestamp=at_us * 1000)
        if error is not None:
            told.set_status(Status(StatusCode.ERROR, error))
        told.end(max(times_us) * 1000)

    def flush(self) -> None:
        """Have everything exported, or give up after five seconds."""
        self.provider.force_flush(_FLUSH_MS_MAX)


class RunTrace:
    """One drive of one run, told from the journal after each commit."""

    def __init__(self, traces: Traces, journal: Journal, lease: Lease) -> None:
        self.traces, self.journal, self.lease = traces, journal, lease
        self.run_id = lease.run_id
        record = journal.run(self.run_id)
        self.sampled = spec_fields(record)["execution"]["mode"] == "shots"
        self.created_us = record.created_us
        self.told_iteration, self.told_us = -1, record.created_us
        self.told_jobs: set[str] = set()

    def __call__(self, progress: Progress) -> None:
        self._emit_new()

    @contextmanager
    def drive(self) -> Iterator[None]:
        """This process's drive."""
        flow_runs = self.journal.flow_run_ids(self.run_id)
        known = {"fence": self.lease.fence, "prefect.flow_run_id": flow_runs[-1] if flow_runs else None}
        with self.traces.step("drive", self.run_id, None, None, known):
            yield

    def repeat_earlier(self) -> None:
        """Tell again what earlier drives did: a killed one may have taken its last spans with it."""
        if self.lease.fence > 1:
            self._emit_new()

    def end(self) -> None:
        """Tell the rest, the run itself if it has ended, and see it exported."""
        self._emit_new()
        record = self.journal.run(self.run_id)
        if record.state in (RunState.COMPLETED, RunState.FAILED):
            if self.sampled and record.state is RunState.COMPLETED:
                self._emit_iteration(self.told_iteration + 1, record.updated_us, name="final evaluation")
            reason = reason_as_told(record.reason)
            self.traces.emit_span(
                "run",
                self.run_id,
                (),
                None,
                (record.created_us, record.updated_us),
                {"kind": record.kind, "state": record.state, "reason": reason},
                error=reason if record.state is RunState.FAILED else None,
            )
        self.traces.flush()

    def _emit_new(self) -> None:
        if not self.sampled:
            return
        since = self.told_iteration + 1
        for record in self.journal.iterations(self.run_id, after=self.told_iteration):
            self._emit_iteration(record.iteration, record.at_us, energy=record.energy, shots=record.shots)
            self.told_iteration = record.iteration
        for job in job_statistics(self.journal.database, [self.run_id], from_iteration=since):
            if job.done_us is not None and job.token not in self.told_jobs:
                self.told_jobs.add(job.token)
                self._emit_job(job)
                if len(self.told_jobs) % _FLUSH_AFTER_JOBS == 0:
                    self.traces.flush()

    def _emit_iteration(
        self, iteration: int, ended_us: int, *, name: str = "iteration", **known: object
    ) -> None:
        times_us = (self.told_us, ended_us)
        self.traces.emit_span(
            name, self.run_id, ("iteration", iteration), (), times_us, {"iteration": iteration, **known}
        )
        self.told_us = ended_us

    def _emit_job(self, job: JobStatistics) -> None:
        assert job.done_us is not None
        names = (
            "device",
            "iteration",
            "batch",
            "attempt",
            "shots",
            "shots_promised",
            "cost_micro_usd",
            "paid",
        )
        self.traces.emit_span(
            "job",
            self.run_id,
            ("job", job.token),
            ("iteration", job.iteration),
            (job.created_us, job.done_us),
            {"job.token": job.token, "state": job.state.value, **{n: getattr(job, n) for n in names}},
            events={"submitted": job.submitted_us, "started": job.started_us},
            error=None if job.state is JobPhase.DONE else job.state.value,
        )


class _Ids(RandomIdGenerator):
    """Random ids, but those that are pinned in this thread."""

    def __init__(self) -> None:
        self._pinned = threading.local()

    @contextmanager
    def pinned(self, trace: int, span: int) -> Iterator[None]:
        self._pinned.ids = (trace, span)
        try:
            yield
        finally:
            self._pinned.ids = None

    def generate_trace_id(self) -> int:
        ids = getattr(self._pinned, "ids", None)
        return ids[0] if ids else super().generate_trace_id()

    def generate_span_id(self) -> int:
        ids = getattr(self._pinned, "ids", None)
        return ids[1] if ids else super().generate_span_id()


_NOWHERE = SpanContext(0, 0, is_remote=False)


def _below(run_id: str, *path: object):
    """The context of being a child of the span with this path."""
    ids = (trace_id(run_id), span_id(run_id, *path))
    return set_span_in_context(NonRecordingSpan(SpanContext(*ids, True, TraceFlags(TraceFlags.SAMPLED))))


def _attributes(run_id: str, known: Mapping[str, Any]) -> dict[str, Any]:
    named = {
        name if "." in name and not name.startswith("job.") else f"shotwise.{name}": value
        for name, value in known.items()
        if value is not None
    }
    return {RUN_ID: run_id, **named}


def _log_to(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    logger = logging.getLogger("opentelemetry")
    logger.propagate = False
    if not logger.handlers:
        logger.addHandler(logging.FileHandler(path, delay=True))
