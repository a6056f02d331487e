"""Ending a run that shall end: what is in flight is brought to its end, and nothing more is bought."""

from __future__ import annotations

import time
from contextlib import nullcontext, suppress
from dataclasses import replace

from ledger import (
    CALIBRATION,
    JobBook,
    Journal,
    Lease,
    RunState,
    StorageError,
    Submissions,
    jobs_of,
)
from shotwise.errors import (
    CannotRunError,
    LeaseLostError,
    RunBusyError,
    RunEndedError,
    RunFailedError,
    ShotwiseError,
)
from tasks.driving import driving, restore_or_initialize
from tasks.durable import Buyer
from tasks.evaluate import plan_iteration
from tasks.fleet import open_fleet
from tasks.patience import UnresolvedJobError
from tasks.prepare import prepare
from tasks.prepared import Prepared
from tasks.purchase import open_buyer, purchase
from tasks.result import final_plan
from tasks.routing import routing_request
from tasks.run_records import spec_of
from tasks.state import LoopState, at_end

_OBEYS_S_MAX = 60.0
_LOOK_AGAIN_S = 0.5
_NOT_OURS_TO_WRITE = (LeaseLostError, StorageError)
"""After these nothing more can be entered by this process."""


def cancel(journal: Journal, run_id: str) -> RunState:
    """Have a run end: by its driver if it has one, else here and now. The run's state afterwards.

    A driver obeys within seconds, unless it is in the middle of a computation: then the state is still
    "running", and it will.

    Raises:
        CannotRunError: the run has ended already, and nothing of it is in flight.
        RunFailedError: a provider cannot say what became of a job; its reservation stays held. Ask again.
    """
    record = journal.run(run_id)
    if _is_over(journal, run_id, record.state):
        if record.state is RunState.CANCELLED:
            return record.state
        raise CannotRunError("RUN_ID", run_id, f"has {record.state}", "see it with `shotwise show`")
    if not record.state.is_final:
        Submissions(journal.database).ask_to_cancel(run_id)
    give_up = time.monotonic() + _OBEYS_S_MAX
    while time.monotonic() < give_up:
        state = journal.run(run_id).state
        if _is_over(journal, run_id, state):
            return state
        with suppress(RunBusyError):
            try:
                _end_without_driver(journal, journal.acquire(run_id))
            except RunEndedError:
                _end_what_was_left(journal, run_id)
        time.sleep(_LOOK_AGAIN_S)
    return journal.run(run_id).state


def finish_cancelled(lease: Lease) -> None:
    """Enter that the run ended by request, and give the lease back."""
    lease.finish(state=RunState.CANCELLED, reason="cancelled", result_json=None)


def end_parts(journal: Journal, run_id: str) -> None:
    """End what of a scan's points has not ended yet.

    Raises:
        RunFailedError: one of them is still driven, or a provider cannot say what became of its job.
    """
    for part in journal.children(run_id):
        if _is_over(journal, part.run_id, part.state):
            continue
        if not _is_over(journal, part.run_id, cancel(journal, part.run_id)):
            raise RunFailedError(f"{part.run_id}, a part of the run, is still driven; cancel the run again")


def settle_in_flight(prepared: Prepared, buyer: Buyer | None, state: LoopState) -> None:
    """Bring every job that is out to its end, cancelled where the provider still can.

    It walks the same way as a purchase, so a result that came first is kept, and paid for as any other.

    Raises:
        RunFailedError: a provider cannot say what became of a job; its reservation stays held.
    """
    if buyer is None:
        return
    # what is only ended needs no slot, and waits although the run was asked to stop
    closing = replace(buyer, closing=True, sleep=time.sleep, hold=lambda _: nullcontext())
    run_id = buyer.book.lease.run_id
    for final in sorted({job.batch_id.final for job in jobs_of(buyer.book.lease.database, run_id, out=True)}):
        measuring, at = at_end(prepared, state) if final else (prepared, state)
        plan = final_plan(measuring, at) if final else plan_iteration(measuring, at)
        try:
            purchase(
                measuring,
                closing,
                state.iteration,
                plan,
                routing_request(prepared, closing, state),
                final=final,
            )
        except _NOT_OURS_TO_WRITE:
            raise
        except ShotwiseError:
            continue  # what is out then is ended below
    _abandon(closing)


def _end_what_was_left(journal: Journal, run_id: str) -> None:
    """End jobs that are out although their run has ended; its state and result stay as they are."""
    lease = journal.acquire(run_id, ended=True)
    try:
        _abandon_without_spec(lease)
    finally:
        lease.release()


def _abandon_without_spec(lease: Lease) -> None:
    """End what is out knowing nothing of the run but its jobs."""
    devices = {job.device for job in jobs_of(lease.database, lease.run_id, out=True)}
    with open_fleet(sorted(devices)) as fleet, driving(lease, 0):
        _abandon(Buyer(JobBook(lease, account=""), fleet))


def _abandon(buyer: Buyer) -> None:
    """End what is still out, whatever it was for.

    Raises:
        ShotwiseError: of some it cannot be said what became; all others have ended.
    """
    unresolved: list[ShotwiseError] = []
    for job in jobs_of(buyer.book.lease.database, buyer.book.lease.run_id, out=True):
        try:
            buyer.abandon(job)
        except _NOT_OURS_TO_WRITE:
            raise
        except ShotwiseError as error:
            unresolved.append(error)
    if unresolved:
        raise unresolved[0]


def _is_over(journal: Journal, run_id: str, state: RunState) -> bool:
    """Whether a run has ended and left nothing in flight."""
    return state.has_ended and not jobs_of(journal.database, run_id, out=True)


def _end_without_driver(journal: Journal, lease: Lease) -> None:
    """Nobody drives the run: settle it, its parts first, and end it here."""
    try:
        end_parts(journal, lease.run_id)
        if jobs_of(journal.database, lease.run_id, out=True):
            _end_in_flight(journal, lease)
    except BaseException:
        lease.finish(state=RunState.INTERRUPTED, reason="cancelling", result_json=None)
        raise
    finish_cancelled(lease)


def _end_in_flight(journal: Journal, lease: Lease) -> None:
    record = journal.run(lease.run_id)
    if record.kind == CALIBRATION:  # no spec says what it bought
        _abandon_without_spec(lease)
        return
    try:
        prepared, state = restore_or_initialize(prepare(spec_of(record)), lease)
        buyer = open_buyer(prepared, lease, hold=lambda _: nullcontext(), sleep=time.sleep)
        with driving(lease, 0):
            settle_in_flight(prepared, buyer, state)
    except (*_NOT_OURS_TO_WRITE, UnresolvedJobError):
        raise
    except ShotwiseError:  # its spec, its devices or its state are not what they were
        _abandon_without_spec(lease)
