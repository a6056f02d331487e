"""The loop's steps as Prefect tasks: a thin skin over the domain, and the only place that knows both.

Quantum tasks run circuits, classical tasks move parameters and commit. No result is cached or persisted
by Prefect, and nothing is retried by it: the journal does both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import wraps
from typing import Any, ParamSpec, TypeVar, cast

from prefect import Task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.context import TaskRunContext
from prefect.states import Cancelled
from prefect.utilities.annotations import quote

from ledger import FreeJob, IterationRecord, Lease, spent_by_device
from measurement import ExecutionPlan
from tasks.advance import advance
from tasks.ansatz_record import ansatz_json
from tasks.driving import StopAsked
from tasks.durable import Buyer
from tasks.evaluate import BatchResult, answer_from
from tasks.free_iterations import Segment, iterate_for_a_while, sample
from tasks.last_look import FINALS, look_plan, plan_after
from tasks.overbilling import AS_QUOTED, Overbilling, overbilling_of
from tasks.prepared import Prepared
from tasks.purchase import purchase
from tasks.recording import is_recorded
from tasks.result import FinalEvaluation, RunResult, build_result, final_exact, final_from, final_plan
from tasks.routing import (
    final_request,
    fits_budget,
    predicted_bias,
    routing_request,
    started_purchases,
    step_request,
    uncalibrated_devices,
)
from tasks.state import LoopState, at_end, to_bytes
from tasks.task_runs import note_task_run
from tasks.telemetry import span
from tasks.treatment import calibration_spent

P = ParamSpec("P")
R = TypeVar("R")


def loop_task(name: str, run_name: str | None = None) -> Callable[[Callable[P, R]], Task[P, R]]:
    """Make a function a Prefect task that is neither cached, persisted nor retried, and is counted.

    Asked to stop while it waits, it ends as Cancelled: see `raise_if_stopped`.
    """

    def make(function: Callable[P, R]) -> Task[P, R]:
        @wraps(function)
        def counted(*args: P.args, **kwargs: P.kwargs) -> R:
            context = TaskRunContext.get()
            if context is not None and context.task_run.flow_run_id is not None:
                note_task_run(context.task_run.flow_run_id, context.task_run.id)
            try:
                return function(*args, **kwargs)
            except StopAsked:
                return cast(R, Cancelled(message="Asked to stop while waiting; the journal knows for what."))

        return _LoopTask(
            counted, name=name, task_run_name=run_name or name, cache_policy=NO_CACHE, persist_result=False
        )

    return make


class _LoopTask(Task[P, R]):
    """A task whose arguments Prefect does not look into for futures, which costs more than all the rest."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not is_recorded():
            return self.fn(*args, **kwargs)
        call = cast(Callable[..., Any], super().__call__)
        return call(*map(quote, args), **{name: quote(value) for name, value in kwargs.items()})


def raise_if_stopped(result: R) -> R:
    """What a task that may wait returned.

    Raises:
        StopAsked: it ended as Cancelled.
    """
    if isinstance(result, State):
        raise StopAsked
    return result


@loop_task("quantum-segment", "quantum-segment from {state.iteration}")
def run_segment(prepared: Prepared, lease: Lease, state: LoopState, until: float) -> Segment:
    """Many free iterations, until half a second has passed or the optimization ends.

    Args:
        until: monotonic time at which to stop whatever happens.
    """
    return iterate_for_a_while(prepared, lease.run_id, state, until)


@loop_task("classical-commit", "classical-commit to {state.iteration}")
def commit_segment(lease: Lease, state: LoopState, segment: Segment, active_us: int) -> None:
    """Enter the iterations of a segment and the state after them, in one transaction."""
    _commit(lease, state, segment.records, active_us, segment.jobs)


@loop_task("quantum-measure", "quantum-measure {state.iteration}")
def measure(prepared: Prepared, buyer: Buyer, state: LoopState, plan: ExecutionPlan) -> BatchResult:
    """Buy one iteration's batch; what was paid for is taken from the journal if it was run before."""
    request = step_request(prepared, buyer, state, routing_request(prepared, buyer, state))
    return purchase(prepared, buyer, state.iteration, plan, request, final=False)


@loop_task("classical-update", "classical-update {state.iteration}")
def update(
    prepared: Prepared, lease: Lease, state: LoopState, measured: BatchResult, active_us: int
) -> Segment:
    """Estimate, tell the optimizer, and commit the iteration."""
    with span("estimate", lease.run_id, iteration=state.iteration):
        answer = answer_from(prepared, state, measured)
    with span("tell", lease.run_id, iteration=state.iteration):
        state, record = advance(prepared, state, answer)
        _commit(lease, state, [record], active_us)
    return Segment(state, [record])


@loop_task("quantum-final")
def evaluate_finally(
    prepared: Prepared, lease: Lease, buyer: Buyer | None, state: LoopState
) -> FinalEvaluation:
    """The evaluation that the run ends with, independent of those that chose the parameters."""
    if not prepared.sampled:
        return final_exact(prepared, state)
    prepared, state = at_end(prepared, state)
    look = look_plan(prepared, state)
    if look is None or not _has_room(prepared, buyer, state, look):
        final = _measure_at_end(prepared, lease, buyer, state, final_plan(prepared, state), final=True)
        return final_from(prepared, state, final)
    seen = _measure_at_end(prepared, lease, buyer, state, look, final=False)
    plan = plan_after(prepared, state, seen)
    final = _measure_at_end(prepared, lease, buyer, state, plan, final=True)
    return final_from(prepared, state, final, look=seen)


@loop_task("classical-finish")
def finish(prepared: Prepared, lease: Lease, state: LoopState, final: FinalEvaluation) -> RunResult:
    """The result, entered together with the run's last state."""
    devices = spent_by_device(lease.database, lease.run_id)  # batches that the budget's end broke off too
    spent = replace(
        state.with_sample(final.sample),
        shots=sum(each.shots for each in devices.values()),
        evaluations=state.evaluations + final.evaluations,
        cost_micro_usd=sum(each.micro_usd for each in devices.values()),
    )
    calibrations = calibration_spent(lease.database, lease.run_id)
    result = replace(
        build_result(prepared, lease.run_id, spent, final, devices),
        calibration_shots=calibrations.shots,
        calibration_cost_usd=calibrations.usd,
        predicted_bias=predicted_bias(lease.database, lease.run_id),
        overbilling=_overbilling(prepared, lease),
        uncalibrated=uncalibrated_devices(lease.database, lease.run_id),
    )
    kept = ansatz_json(prepared, lease.run_id, state, final)
    lease.finish(state=result.state, reason=result.reason, result_json=result.to_json(), ansatz_json=kept)
    return result


def _has_room(prepared: Prepared, buyer: Buyer | None, state: LoopState, look: ExecutionPlan) -> bool:
    """Whether a look is affordable; what an earlier process decided is gone on with."""
    if buyer is None:
        return True
    before = started_purchases(buyer, state.iteration)
    if before.step or before.final:
        return before.step
    return fits_budget(prepared, buyer, state, look, finals=FINALS)


def _measure_at_end(
    prepared: Prepared,
    lease: Lease,
    buyer: Buyer | None,
    state: LoopState,
    plan: ExecutionPlan,
    *,
    final: bool,
) -> BatchResult:
    if buyer is None:
        measured, job = sample(prepared, lease.run_id, state, plan, final=final)
        lease.record(job)
        return measured
    request = final_request(routing_request(prepared, buyer, state))
    return purchase(prepared, buyer, state.iteration, plan, request, final=final)


def _overbilling(prepared: Prepared, lease: Lease) -> Overbilling:
    if prepared.fleet is None:
        return AS_QUOTED
    return overbilling_of(lease.database, prepared.spec.account.of_run(lease.run_id), lease.run_id)


def _commit(
    lease: Lease,
    state: LoopState,
    records: Sequence[IterationRecord],
    active_us: int,
    jobs: Sequence[FreeJob] = (),
) -> None:
    """Iterations whose energy is not finite end the run and have nothing to enter."""
    entered = [record for record in records if math.isfinite(record.energy)]
    lease.commit(entered, iteration=state.iteration, state=to_bytes(state), active_us=active_us, jobs=jobs)
