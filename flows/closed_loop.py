"""The closed loop that every flow is: quantum and classical tasks in turn, until a reason to stop.

The journal is the truth. Whatever this process loses when it is killed, the next one finds there.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from flows.run_lifecycle import Stopped, drive_run, open_run, publish_result, stop_run
from ledger import BudgetExceededError, Ledger, StorageError
from optimizers import Reason
from shotwise.spec import RunSpec
from tasks.cancelling import settle_in_flight
from tasks.driving import Drive, StopAsked, restore_or_initialize
from tasks.durable import Buyer
from tasks.evaluate import plan_iteration
from tasks.free_iterations import Segment
from tasks.loop_tasks import (
    commit_segment,
    evaluate_finally,
    finish,
    measure,
    raise_if_stopped,
    run_segment,
    update,
)
from tasks.prepare import prepare
from tasks.prepared import Prepared
from tasks.progress import Progress, notify_listeners, progress_listener
from tasks.purchase import open_buyer
from tasks.result import RunResult, final_unmeasured
from tasks.routing import check_can_start, fits_budget, started_purchases
from tasks.sampling import has_shots
from tasks.slots import device_slot
from tasks.state import LoopState
from tasks.summary import summary_rows
from tasks.telemetry import span, tracing
from tasks.ui import ProgressArtifact

_DATABASE_FAILURES_MAX = 5


def closed_loop(spec: RunSpec | None, run_id: str | None) -> RunResult | Stopped:
    """Drive a run to its end, or to the next safe point after a request to stop.

    Args:
        spec: a new run's spec; None to resume `run_id` from its journal.
        run_id: the run to resume; None for a new one.

    Returns:
        The result, or how the run was left without one.

    Raises:
        SpecError, CannotRunError: before anything is entered; for a run that was entered before, it fails.
        RunBusyError: another process drives the run.
        RunFailedError: something broke; what was committed stays.
    """
    run = open_run(spec, run_id, "vqe", "qaoa")
    if ended := run.outcome(RunResult.from_json):
        return ended
    with drive_run(run) as driven:
        artifact = ProgressArtifact(run.run_id)
        prepared = prepare(run.spec)
        if run_id is not None and driven.lease.fence == 1:  # entered elsewhere
            check_can_start(prepared, Ledger(run.journal.database))
        with progress_listener(artifact), tracing(run.home, run.journal, driven.lease):
            hold = partial(device_slot, sleep=driven.drive.sleep)
            buyer = open_buyer(
                prepared,
                driven.lease,
                hold=hold,
                sleep=driven.drive.sleep,
                check_stop=driven.drive.check_stop,
            )
            result = _drive_on(prepared, driven.drive, buyer)
    if not isinstance(result, Stopped):
        publish_result(run, artifact, result, [("", ""), *summary_rows(result, prepared.problem.unit)])
    return result


def _drive_on(prepared: Prepared, drive: Drive, buyer: Buyer | None) -> RunResult | Stopped:
    """Drive from the journal's last checkpoint; again from there, where the database went away meanwhile."""
    for failures_left in reversed(range(_DATABASE_FAILURES_MAX)):
        try:
            prepared, state = restore_or_initialize(prepared, drive.lease)
            try:
                return _drive(prepared, drive, buyer, state)
            except StopAsked:
                return stop_run(drive, partial(_settle, prepared, drive, buyer))
        except StorageError:
            if not failures_left:
                raise
    raise AssertionError("the last failure is raised")


def _drive(prepared: Prepared, drive: Drive, buyer: Buyer | None, state: LoopState) -> RunResult:
    iterate = _iterate_free if buyer is None else partial(_iterate_bought, buyer=buyer)
    while state.reason is None:
        drive.check_stop()
        segment = iterate(prepared, drive, state)
        state = segment.state
        _notify(prepared, drive, segment)
    try:
        final = raise_if_stopped(evaluate_finally(prepared, drive.lease, buyer, state))
    except BudgetExceededError:  # what was kept for it was spent elsewhere in the tenant
        if not state.iteration:
            raise
        state = replace(state, reason=Reason.BUDGET_REACHED)
        final = final_unmeasured(prepared, state)
    return finish(prepared, drive.lease, state, final)


def _iterate_free(prepared: Prepared, drive: Drive, state: LoopState) -> Segment:
    """Half a second of iterations that cost nothing, then one commit."""
    segment = run_segment(prepared, drive.lease, state, drive.deadline(prepared.spec.budget))
    if segment.state.reason is None and drive.is_out_of_time(prepared.spec.budget):
        segment = replace(segment, state=replace(segment.state, reason=Reason.BUDGET_REACHED))
    commit_segment(drive.lease, segment.state, segment, drive.active_us)
    return segment


def _iterate_bought(prepared: Prepared, drive: Drive, state: LoopState, *, buyer: Buyer) -> Segment:
    """One batch and one iteration, if the budget has room for it and for the final batch."""
    before = started_purchases(buyer, state.iteration)
    budget_reached = Segment(replace(state, reason=Reason.BUDGET_REACHED), [])
    if before.final:  # an earlier drive came to the budget's end
        return budget_reached
    with span("plan", drive.lease.run_id, iteration=state.iteration):
        plan = plan_iteration(prepared, state)
    if not before.step and (
        drive.is_out_of_time(prepared.spec.budget)
        or not has_shots(prepared, state, plan)
        or not fits_budget(prepared, buyer, state, plan)
    ):
        return budget_reached
    try:
        measured = raise_if_stopped(measure(prepared, buyer, state, plan))
    except BudgetExceededError:  # somebody else of the tenant spent what was left meanwhile
        return budget_reached
    return update(prepared, drive.lease, state, measured, drive.active_us)


def _notify(prepared: Prepared, drive: Drive, segment: Segment) -> None:
    if not segment.records:
        return
    reference, last, state = prepared.problem.reference, segment.records[-1], segment.state
    notify_listeners(
        Progress(
            run_id=drive.lease.run_id,
            iteration=state.iterations,
            iterations_max=prepared.iterations_max,
            energy=last.energy,
            energy_std_error=last.energy_std_error,
            reference_energy=reference.energy if reference else None,
            unit=prepared.problem.unit,
            shots=state.shots,
            cost_micro_usd=state.cost_micro_usd,
            quantity="energy" if prepared.tail is None else "CVaR",
        )
    )


def _settle(prepared: Prepared, drive: Drive, buyer: Buyer | None) -> None:
    """Settle what is in flight where the run stands now."""
    prepared, state = restore_or_initialize(prepared, drive.lease)
    settle_in_flight(prepared, buyer, state)
