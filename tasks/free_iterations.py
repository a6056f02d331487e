"""Iterations that cost nothing, as many at a time as last about half a second.

After a crash they are done again, with the same result, so the journal need not have each on its own.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ledger import BatchId, FreeJob, IterationRecord, JobKey, now_us
from measurement import ExecutionPlan
from optimizers import Reason
from tasks.advance import advance
from tasks.evaluate import BatchResult, answer_exactly, answer_from, plan_iteration
from tasks.prepared import Prepared
from tasks.sampling import has_shots
from tasks.segment import compiles, iterate
from tasks.state import LoopState
from tasks.telemetry import span

SEGMENT_S = 0.5
"""Free iterations are gathered into task runs of about this length."""


@dataclass(frozen=True, eq=False)
class Segment:
    """Iterations done together.

    Attributes:
        state: after them.
        records: what the journal keeps of each.
        jobs: what they sampled.
    """

    state: LoopState
    records: Sequence[IterationRecord]
    jobs: Sequence[FreeJob] = ()


def iterate_for_a_while(prepared: Prepared, run_id: str, state: LoopState, until: float) -> Segment:
    """Iterations until half a second has passed or the optimization ends.

    Args:
        until: monotonic time at which to stop whatever happens.
    """
    records: list[IterationRecord] = []
    jobs: list[FreeJob] = []
    ends, steps = min(until, time.monotonic() + SEGMENT_S), 1
    while state.reason is None:
        started = time.monotonic()
        done = _iterations(prepared, run_id, state, steps)
        state = done.state
        records += done.records
        jobs += done.jobs
        now = time.monotonic()
        if now >= ends:
            break
        steps = max(1, int((ends - now) / (now - started) * len(done.records)))
    return Segment(state, records, jobs)


def sample(
    prepared: Prepared, run_id: str, state: LoopState, plan: ExecutionPlan, *, final: bool
) -> tuple[BatchResult, FreeJob]:
    """Run a batch on a device that costs nothing, and what is to be entered of it."""
    began_us = now_us()
    outcome = prepared.device.sample(plan)
    key = JobKey(run_id, state.iteration, BatchId.of_free_run(final=final).number)
    job = FreeJob(key, prepared.device.name, plan.shots_total, outcome.to_bytes(), began_us)
    return BatchResult.free(plan, outcome), job


def _iterations(prepared: Prepared, run_id: str, state: LoopState, steps: int) -> Segment:
    """One iteration, or up to `steps` where they are compiled as one call."""
    if prepared.sampled:
        return _sampled(prepared, run_id, state)
    if compiles(prepared, state):
        return Segment(*iterate(prepared, state, steps))
    state, record = advance(prepared, state, answer_exactly(prepared, state))
    return Segment(state, [record])


def _sampled(prepared: Prepared, run_id: str, state: LoopState) -> Segment:
    """One iteration on counts, if the budget has shots for it and for the final evaluation."""
    with span("plan", run_id, iteration=state.iteration):
        plan = plan_iteration(prepared, state)
    if not has_shots(prepared, state, plan):
        return Segment(replace(state, reason=Reason.BUDGET_REACHED), [])
    measured, job = sample(prepared, run_id, state, plan, final=False)
    with span("estimate", run_id, iteration=state.iteration):
        answer = answer_from(prepared, state, measured)
    with span("tell", run_id, iteration=state.iteration):
        state, record = advance(prepared, state, answer)
    return Segment(state, [record], [job])
