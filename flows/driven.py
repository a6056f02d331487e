"""Holding a run of the journal for a flow: the lease, its Prefect flow run, tracking, failure entered."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from uuid import UUID

from httpx import HTTPError
from prefect.runtime import flow_run

from ledger import Database, Journal, Lease, RunRecord, RunState, StorageError
from shotwise.home import Home
from shotwise.spec import RunSpec, validate
from tasks.driving import Drive, acquire_patiently, driving
from tasks.prefect_records import close_stale
from tasks.provenance import new_run, parent_from_environment
from tasks.tracker import Tracker


class Stopped(StrEnum):
    """How a run that has no result yet was left."""

    INTERRUPTED = RunState.INTERRUPTED
    """It can be gone on with."""
    CANCELLED = RunState.CANCELLED
    """It was asked to end, and what was in flight is settled."""


@dataclass(frozen=True, eq=False)
class Driven:
    """A run that this flow drives, and the checkpoint to go on from."""

    drive: Drive
    checkpoint: bytes | None

    @property
    def lease(self) -> Lease:
        return self.drive.lease


@dataclass(frozen=True, eq=False)
class Opened:
    """A run to drive, with its home and journal.

    Attributes:
        given: the spec of a new run.
        record: of one that was entered before, None of a new one.
    """

    home: Home
    journal: Journal
    given: RunSpec | None
    record: RunRecord | None = None

    def entered(self, run_id: str) -> Opened:
        """The same, of a run that is in the journal."""
        return replace(self, given=None, record=self.journal.run(run_id))

    @property
    def spec(self) -> RunSpec:
        """What it is.

        Raises:
            SpecError: it was entered by a version whose specs are no longer taken.
        """
        if self.record is not None:
            return validate(json.loads(self.record.spec_json))
        assert self.given is not None, "a new run needs a spec"
        return self.given

    @property
    def result_json(self) -> str | None:
        """Of one that has ended."""
        return self.record.result_json if self.record and self.record.state is RunState.COMPLETED else None

    @property
    def cancelled(self) -> bool:
        """Whether it has ended without a result."""
        return self.record is not None and self.record.state == Stopped.CANCELLED


def open_run(spec: RunSpec | None, run_id: str | None) -> Opened:
    """A new run of `spec` on this machine's journal, or the run `run_id` that is there."""
    home = Home.from_environment().make()
    opened = Opened(home, Journal(Database(home.database_url)), spec)
    return opened if run_id is None else opened.entered(run_id)


@contextmanager
def driven(home: Home, journal: Journal, run_id: str) -> Iterator[Driven]:
    """Drive a run within the block; an exception is entered as its failure and raised on.

    Raises:
        RunBusyError: another process drives it.
    """
    lease = acquire_patiently(journal, run_id)
    flow_run_id = str(flow_run.id)
    with ExitStack() as stack:
        try:
            lease.record_flow_run(flow_run_id)
            with suppress(HTTPError):
                close_stale([UUID(i) for i in journal.flow_run_ids(run_id) if i != flow_run_id])
            restored = lease.restore()
            drive = stack.enter_context(driving(lease, restored[2] if restored else 0))
            stack.callback(Tracker.of(home).track(run_id))
            yield Driven(drive, restored[1] if restored else None)
        except Exception as error:
            _enter_failure(lease, error)
            raise


def _enter_failure(lease: Lease, error: Exception) -> None:
    """Say in the journal that the run failed; or can be gone on with, where the database is what failed."""
    state = Stopped.INTERRUPTED if isinstance(error, StorageError) else RunState.FAILED
    with suppress(Exception):  # the error that is being raised says more
        lease.finish(state=state, reason=type(error).__name__[:32], result_json=None)


def enter_run(
    journal: Journal, spec: RunSpec, run_id: str | None = None, *, parent: str | None = None
) -> str:
    """Enter a new run, part of `parent` if it is a point of a scan, and return its id."""
    return journal.create_run(
        new_run(spec),
        run_id=run_id,
        parent=parent or parent_from_environment(),
    )
