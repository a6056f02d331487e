"""The closed loop that every flow is: quantum and classical stages in turn, until a reason to stop.

The journal is the truth. Whatever this process loses when it is killed, the next one finds there.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from decimal import Decimal
from functools import partial
from uuid import UUID

from prefect.runtime import flow_run

from ledger import (
    BudgetExceededError,
    Currency,
    Database,
    IterationRecord,
    JobBook,
    Journal,
    Lease,
    Ledger,
)
from measurement import ExecutionPlan
from optimizers import Reason
from shotwise.home import Home
from shotwise.spec import RunSpec, validate
from tasks.driving import Drive, StopAsked, acquire_patiently, driving
from tasks.durable import Buyer
from tasks.prefect_records import close_stale
from tasks.prepare import Prepared, prepare
from tasks.progress import Progress, tell_watchers, watching
from tasks.provenance import versions_json
from tasks.purchase import check_can_start, fits_budget
from tasks.result import RunResult, final_from_record, summary_rows
from tasks.slots import device_slot
from tasks.stages import (
    commit_segment,
    evaluate_finally,
    finish,
    heard,
    measure,
    next_plan,
    run_segment,
    update,
)
from tasks.state import LoopState, from_bytes, initial
from tasks.tracking import Tracker, mlflow_run_url
from tasks.ui import ProgressArtifact, publish_summary


def closed_loop(spec: RunSpec | None, run_id: str | None) -> RunResult | None:
    """Drive a run to its end, or to the next safe point after a request to stop.

    Args:
        spec: a new run's spec; None to resume `run_id` from its journal.
        run_id: the run to resume; None for a new one.

    Returns:
        The result; None where the run was interrupted.

    Raises:
        SpecError, CannotRunError: before anything is entered.
        RunBusyError: another process drives the run.
        RunFailedError: something broke; what was committed stays.
    """
    home = Home.from_environment().make()
    journal = Journal(Database(home.database_url))
    if run_id is not None:
        record = journal.run(run_id)
        if record.state == "completed" and record.result_json:
            return RunResult.from_json(record.result_json)
        spec = validate(json.loads(record.spec_json))
    assert spec is not None, "a new run needs a spec"
    prepared = prepare(spec)
    if run_id is None:
        check_can_start(prepared, Ledger(journal.database))
    lease = acquire_patiently(journal, run_id or _create(journal, spec))
    flow_run_id = str(flow_run.id)
    artifact = ProgressArtifact(lease.run_id)
    with ExitStack() as stack:
        try:
            lease.record_flow_run(flow_run_id)
            close_stale([UUID(i) for i in journal.flow_run_ids(lease.run_id) if i != flow_run_id])
            restored = lease.restore()
            state = from_bytes(prepared, restored[1]) if restored else initial(prepared)
            drive = stack.enter_context(driving(lease, restored[2] if restored else 0))
            stack.callback(Tracker.start(home, lease.run_id).finish)
            stack.enter_context(watching(artifact))
            result = _drive_or_stop(prepared, drive, _buyer(prepared, journal, drive), state)
        except Exception as error:
            _enter_failure(lease, error)
            raise
    if result is None:
        return None
    mlflow_run_id = journal.run(lease.run_id).mlflow_run_id
    artifact.end(result)
    rows = summary_rows(result, prepared.problem.unit)
    publish_summary(result, rows, mlflow_run_url(home, mlflow_run_id) if mlflow_run_id else None)
    return result


def _drive_or_stop(
    prepared: Prepared, drive: Drive, buyer: Buyer | None, state: LoopState
) -> RunResult | None:
    """The result; None where a request to stop was obeyed, between iterations or in a wait."""
    try:
        result = _drive(prepared, drive, buyer, state)
    except StopAsked:
        result = None
    if result is None:
        drive.lease.finish(state="interrupted", reason=Reason.INTERRUPTED, result_json=None)
    return result


def _drive(prepared: Prepared, drive: Drive, buyer: Buyer | None, state: LoopState) -> RunResult | None:
    iterate = partial(_iterate_sampled, buyer=buyer) if prepared.sampled else _iterate_segment
    while state.reason is None:
        if drive.stop.is_set():
            return None
        state, records = iterate(prepared, drive, state)
        _tell(prepared, drive, state, records)
    try:
        final = heard(evaluate_finally(prepared, drive.lease, buyer, state))
    except (
        BudgetExceededError
    ):  # what was kept for it was spent elsewhere in the tenant: report the last energy
        records = Journal(drive.lease.database).iterations(drive.lease.run_id)
        if not records:
            raise
        state = replace(state, reason=Reason.BUDGET_REACHED)
        final = final_from_record(prepared, state, records[-1])
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
    plan = next_plan(prepared, state)
    if not _affordable(prepared, drive, buyer, state, plan):
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
    shots = state.shots + plan.shots_total + prepared.shots_per_evaluation
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


def _buyer(prepared: Prepared, journal: Journal, drive: Drive) -> Buyer | None:
    """What buys for this run, its account opened with the spec's budget; None where nothing costs."""
    if prepared.fleet is None:
        return None
    budget, payer = prepared.spec.budget, prepared.spec.account
    account = f"{payer.tenant}/{payer.project}/{drive.lease.run_id}"
    ledger = Ledger(journal.database)
    ledger.open_account(account)
    micro_usd = None if budget.usd is None else int(Decimal(str(budget.usd)) * 1_000_000)
    balance = ledger.balance(account)
    if (balance.limit(Currency.SHOTS), balance.limit(Currency.MICRO_USD)) != (budget.shots, micro_usd):
        ledger.set_limit(account, shots=budget.shots, micro_usd=micro_usd, note="spec")
    hold = partial(device_slot, sleep=drive.sleep)
    return Buyer(JobBook(drive.lease, account), prepared.fleet, sleep=drive.sleep, hold=hold)


def _create(journal: Journal, spec: RunSpec) -> str:
    return journal.create_run(
        name=spec.name,
        kind=spec.problem.kind,
        spec_json=spec.canonical_json(),
        problem_sha256=spec.problem_sha256(),
        versions_json=versions_json(),
    )


def _enter_failure(lease: Lease, error: Exception) -> None:
    """Say in the journal that the run failed, unless it is no longer ours or the database is what failed."""
    with suppress(Exception):  # the error that is being raised says more
        lease.finish(state="failed", reason=type(error).__name__[:32], result_json=None)
