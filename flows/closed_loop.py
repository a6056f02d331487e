"""The closed loop that every flow is: quantum and classical stages in turn, until a reason to stop.

The journal is the truth. Whatever this process loses when it is killed, the next one finds there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from uuid import UUID

from prefect.runtime import flow_run

from flows.driven import Stopped, driven, open_run
from ledger import (
    BudgetExceededError,
    IterationRecord,
    Journal,
    Ledger,
    StorageError,
    Submissions,
)
from measurement import ExecutionPlan
from optimizers import Reason
from shotwise.errors import SpecError
from shotwise.spec import RunSpec
from tasks.cancelling import leave, settle_in_flight
from tasks.driving import Drive, StopAsked, where_it_stands
from tasks.durable import Buyer
from tasks.evaluate import plan_iteration
from tasks.flow_runs import deployment_of, is_being_cancelled, is_deployed
from tasks.prepare import Prepared, prepare
from tasks.progress import Progress, tell_watchers, watching
from tasks.provenance import new_run, parent_from_environment
from tasks.purchase import open_buyer
from tasks.result import RunResult, final_unmeasured
from tasks.routing import Begun, begun, check_can_start, fits_budget
from tasks.sampling import final_shots
from tasks.slots import device_slot
from tasks.stages import (
    commit_segment,
    evaluate_finally,
    finish,
    heard,
    measure,
    run_segment,
    update,
)
from tasks.starts import resolve_start
from tasks.state import LoopState
from tasks.summary import summary_rows
from tasks.telemetry import span, tracing
from tasks.tracker import mlflow_run_url
from tasks.ui import ProgressArtifact, publish_summary

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
    if spec is not None and spec.flow not in ("vqe", "qaoa"):
        raise SpecError("spec", spec.flow, "not a single loop", f"give it to the flow {spec.flow}")
    opened = open_run(spec, run_id)
    handed_over = run_id is not None
    if run_id is None:
        run_id = _enter(opened.journal, opened.spec)
        opened = opened.entered(run_id)
    if opened.result_json:
        return RunResult.from_json(opened.result_json)
    if opened.cancelled:
        return Stopped.CANCELLED
    home, journal = opened.home, opened.journal
    with driven(home, journal, run_id) as held:
        artifact = ProgressArtifact(run_id)
        prepared = prepare(opened.spec)
        if handed_over and held.lease.fence == 1:
            check_can_start(prepared, Ledger(journal.database))
        with watching(artifact), tracing(home, journal, held.lease):
            hold = partial(device_slot, sleep=held.drive.sleep)
            buyer = open_buyer(prepared, held.lease, hold=hold, sleep=held.drive.sleep)
            result = _drive_on(prepared, held.drive, buyer)
    if isinstance(result, Stopped):
        return result
    mlflow_run_id = journal.run(run_id).mlflow_run_id
    artifact.end(result)
    rows = summary_rows(result, prepared.problem.unit)
    publish_summary(result, rows, mlflow_run_url(home, mlflow_run_id) if mlflow_run_id else None)
    return result


def _drive_on(prepared: Prepared, drive: Drive, buyer: Buyer | None) -> RunResult | Stopped:
    """Drive from the journal's last checkpoint; again from there, where the database went away meanwhile."""
    for failures_left in reversed(range(_DATABASE_FAILURES_MAX)):
        try:
            prepared, state = where_it_stands(prepared, drive.lease)
            try:
                return _drive(prepared, drive, buyer, state)
            except StopAsked:
                return _leave(prepared, drive, buyer)
        except StorageError:
            if not failures_left:
                raise
    raise AssertionError("the last failure is raised")


def _drive(prepared: Prepared, drive: Drive, buyer: Buyer | None, state: LoopState) -> RunResult | Stopped:
    iterate = partial(_iterate_sampled, buyer=buyer) if prepared.sampled else _iterate_segment
    while state.reason is None:
        if drive.stop.is_set():
            return _leave(prepared, drive, buyer)
        state, records = iterate(prepared, drive, state)
        _tell(prepared, drive, state, records)
    try:
        final = heard(evaluate_finally(prepared, drive.lease, buyer, state))
    except BudgetExceededError:  # what was kept for it was spent elsewhere in the tenant
        if not state.iteration:
            raise
        state = replace(state, reason=Reason.BUDGET_REACHED)
        final = final_unmeasured(prepared, state)
    return finish(prepared, drive.lease, state, final)


def _iterate_segment(
    prepared: Prepared, drive: Drive, state: LoopState
) -> tuple[LoopState, Sequence[IterationRecord]]:
    """Half a second of free exact iterations, then one commit."""
    deadline = drive.deadline(prepared.spec.budget)
    state, records = run_segment(prepared, state, deadline)
    if state.reason is None and drive.active_us >= 1e6 * (prepared.spec.budget.wall_s or float("inf")):
        state = replace(state, reason=Reason.BUDGET_REACHED)
    commit_segment(drive.lease, state, records, drive.active_us)
    return state, records


def _iterate_sampled(
    prepared: Prepared, drive: Drive, state: LoopState, *, buyer: Buyer | None
) -> tuple[LoopState, Sequence[IterationRecord]]:
    """One batch and one iteration, if the budget has room for it and for the final batch."""
    before = begun(buyer, state.iteration) if buyer is not None else Begun(step=False, final=False)
    if before.final:  # an earlier drive came to the budget's end
        return replace(state, reason=Reason.BUDGET_REACHED), []
    with span("plan", drive.lease.run_id, iteration=state.iteration):
        plan = plan_iteration(prepared, state)
    if not (before.step or _affordable(prepared, drive, buyer, state, plan)):
        return replace(state, reason=Reason.BUDGET_REACHED), []
    try:
        measured = heard(measure(prepared, drive.lease, buyer, state, plan))
    except BudgetExceededError:  # somebody else of the tenant spent what was left meanwhile
        return replace(state, reason=Reason.BUDGET_REACHED), []
    return update(prepared, drive.lease, state, measured, drive.active_us)


def _affordable(
    prepared: Prepared, drive: Drive, buyer: Buyer | None, state: LoopState, plan: ExecutionPlan
) -> bool:
    budget = prepared.spec.budget
    shots = state.shots + plan.shots_total + final_shots(prepared, state)
    if budget.shots is not None and shots > budget.shots:
        return False
    if drive.active_us >= 1e6 * (budget.wall_s or float("inf")):
        return False
    return buyer is None or fits_budget(prepared, buyer, state, plan)


def _tell(prepared: Prepared, drive: Drive, state: LoopState, records: Sequence[IterationRecord]) -> None:
    if not records:
        return
    reference = prepared.problem.reference
    tell_watchers(
        Progress(
            run_id=drive.lease.run_id,
            iteration=state.iteration,
            iterations_max=prepared.iterations_max,
            energy=records[-1].energy,
            energy_std_error=records[-1].energy_std_error,
            reference_energy=reference.energy if reference else None,
            unit=prepared.problem.unit,
            shots=state.shots,
            cost_micro_usd=state.cost_micro_usd,
        )
    )


def _leave(prepared: Prepared, drive: Drive, buyer: Buyer | None) -> Stopped:
    """Leave the run for another driver; or, where it shall end, settle what is in flight and end it."""
    lease = drive.lease
    if is_being_cancelled(UUID(str(flow_run.id))):
        Submissions(lease.database).ask_to_cancel(lease.run_id)
    drive.heed_cancellation()
    if not drive.cancelled.is_set():
        leave(drive)
        return Stopped.INTERRUPTED
    prepared, state = where_it_stands(prepared, lease)
    settle_in_flight(prepared, buyer, state)
    leave(drive)
    return Stopped.CANCELLED


def _enter(journal: Journal, spec: RunSpec) -> str:
    """Enter a new run that can start here; where a deployment asks for it, as the team's to finish."""
    spec = resolve_start(spec, journal)
    submissions = Submissions(journal.database)
    if not is_deployed():
        check_can_start(prepare(spec), Ledger(journal.database))
        return journal.create_run(new_run(spec), parent=parent_from_environment())
    if known := submissions.of_flow_run(str(flow_run.id)):
        return known
    check_can_start(prepare(spec), Ledger(journal.database))
    name, queue = deployment_of(UUID(str(flow_run.id)))
    return submissions.enter(new_run(spec), deployment=name, queue=queue, flow_run_id=str(flow_run.id))
