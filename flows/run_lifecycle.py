"""A run of the journal in a flow's hands: entered or opened, held while it is driven, left, published."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, TypeVar
from uuid import UUID

from httpx import HTTPError
from prefect.runtime import flow_run

from ledger import Database, Journal, Lease, RunRecord, RunState, StorageError, Submissions
from optimizers import Reason
from shotwise.errors import SpecError
from shotwise.home import Home
from shotwise.spec import RunSpec, validate
from tasks.cancelling import finish_cancelled
from tasks.driving import Drive, acquire_with_retries, driving
from tasks.failure import reason_of_failure
from tasks.flow_runs import deployment_of, is_being_cancelled, is_deployed
from tasks.prefect_records import close_stale
from tasks.progress import notify_entered
from tasks.provenance import new_run, parent_from_environment
from tasks.readiness import check_ready
from tasks.recording import is_recorded
from tasks.starts import resolve_start
from tasks.tracker import Tracker, mlflow_run_url
from tasks.ui import ProgressArtifact, publish_summary

R = TypeVar("R")


class Result(Protocol):
    """What a run ends with."""

    @property
    def run_id(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def reason(self) -> str: ...

    def to_json(self) -> str: ...


class Stopped(StrEnum):
    """How a run that has no result yet was left."""

    INTERRUPTED = RunState.INTERRUPTED
    """It can be gone on with."""
    CANCELLED = RunState.CANCELLED
    """It was asked to end, and what was in flight is settled."""


@dataclass(frozen=True, eq=False)
class DrivenRun:
    """A run that this flow drives, and the checkpoint to go on from."""

    drive: Drive
    checkpoint: bytes | None

    @property
    def lease(self) -> Lease:
        return self.drive.lease


@dataclass(frozen=True, eq=False)
class OpenRun:
    """A run that is in the journal, with its home."""

    home: Home
    journal: Journal
    record: RunRecord

    @property
    def run_id(self) -> str:
        return self.record.run_id

    @property
    def spec(self) -> RunSpec:
        """What it is.

        Raises:
            SpecError: it was entered by a version whose specs are no longer taken.
        """
        return validate(json.loads(self.record.spec_json))

    def outcome(self, read: Callable[[str], R]) -> R | Stopped | None:
        """What it came to, its result by `read`; None where it can be driven."""
        if self.record.state is RunState.CANCELLED:
            return Stopped.CANCELLED
        completed = self.record.state is RunState.COMPLETED
        return read(self.record.result_json) if completed and self.record.result_json else None


def open_run(spec: RunSpec | None, run_id: str | None, *flows: str) -> OpenRun:
    """The run `run_id` of this machine's journal; or a new one of `spec`, which is one for `flows`.

    Raises:
        SpecError, CannotRunError: there is no such run, or a new one cannot start; it is not entered.
    """
    home = Home.from_environment().make()
    journal = Journal(Database(home.database_url))
    if run_id is None:
        assert spec is not None, "a new run needs a spec"
        if spec.flow not in flows:
            raise SpecError("spec", spec.flow, "not of this flow", f"give it to the flow {spec.flow}")
        run_id = _enter(journal, spec)
        notify_entered(run_id)
    return OpenRun(home, journal, journal.run(run_id))


def _enter(journal: Journal, spec: RunSpec) -> str:
    """Enter a new run that can start here; where a deployment asks for it, as the team's to finish."""
    submissions, flow_run_id = Submissions(journal.database), str(flow_run.id)
    if known := submissions.of_flow_run(flow_run_id):
        return known
    spec = resolve_start(spec, journal)
    check_ready(spec, journal.database, new=True)
    if not is_deployed():
        return journal.create_run(new_run(spec), parent=parent_from_environment())
    name, queue = deployment_of(UUID(flow_run_id))
    return submissions.enter(new_run(spec), deployment=name, queue=queue, flow_run_id=flow_run_id)


@contextmanager
def drive_run(run: OpenRun) -> Iterator[DrivenRun]:
    """Drive a run within the block; an exception is entered as its failure and raised on.

    Raises:
        RunBusyError: another process drives it.
    """
    home, journal, run_id = run.home, run.journal, run.run_id
    lease = acquire_with_retries(journal, run_id)
    flow_run_id = str(flow_run.id)
    with ExitStack() as stack:
        try:
            if is_recorded():
                lease.record_flow_run(flow_run_id)
                with suppress(HTTPError):
                    close_stale(_flow_runs_before(journal, run_id) - {UUID(flow_run_id)})
            restored = lease.restore()
            drive = stack.enter_context(driving(lease, restored[2] if restored else 0))
            stack.callback(Tracker.of(home).track(run_id))
            yield DrivenRun(drive, restored[1] if restored else None)
        except Exception as error:
            _enter_failure(lease, error)
            raise


def _flow_runs_before(journal: Journal, run_id: str) -> set[UUID]:
    """Flow runs that drove a run and may not have told Prefect how they ended.

    Of a team's, those that gave the run back in order say it themselves; the keeper ends the rest.
    """
    ended = journal.ended_drives(run_id) if is_deployed() else {}
    return {UUID(each) for each in journal.flow_run_ids(run_id) if each not in ended}


def _enter_failure(lease: Lease, error: Exception) -> None:
    """Say in the journal that the run failed; or can be gone on with, where the database is what failed."""
    state = RunState.INTERRUPTED if isinstance(error, StorageError) else RunState.FAILED
    with suppress(Exception):  # the error that is being raised says more
        lease.finish(state=state, reason=reason_of_failure(error), result_json=None)


def stop_run(drive: Drive, settle: Callable[[], None] = lambda: None) -> Stopped:
    """Stop driving a run as asked: leave it to the next driver; or end it, cancelled here or in Prefect's UI.

    Args:
        settle: brings what of a run that shall end is in flight to its end.
    """
    lease = drive.lease
    if is_being_cancelled(UUID(str(flow_run.id))):
        Submissions(lease.database).ask_to_cancel(lease.run_id)
    drive.check_cancellation()
    if not drive.cancelled.is_set():
        lease.finish(state=RunState.INTERRUPTED, reason=Reason.INTERRUPTED, result_json=None)
        return Stopped.INTERRUPTED
    settle()
    finish_cancelled(lease)
    return Stopped.CANCELLED


def publish_result(
    run: OpenRun, artifact: ProgressArtifact, result: Result, rows: Sequence[Sequence[str]]
) -> None:
    """Show in Prefect's UI how a run ended, and where MLflow has it; the heads of `rows` come first."""
    artifact.end(f"{result.run_id}: {result.state}, {result.reason}")
    mlflow_run_id = run.journal.run(run.run_id).mlflow_run_id
    url = mlflow_run_url(run.home, mlflow_run_id) if mlflow_run_id else None
    publish_summary(result.run_id, rows, url)
