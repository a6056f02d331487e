"""A sandbox job as a value: what was accepted, what became of it, and what that says at a moment."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property

from backends.prices import Price
from backends.provider import JobState
from backends.sandbox.messages import QueueModel
from backends.sandbox.wire import PlanMessage
from measurement.plan import ExecutionPlan


@dataclass(frozen=True)
class Job:
    """One accepted job. Times are microseconds of the sandbox's clock since the epoch, UTC.

    Attributes:
        token: None where the device ignores tokens.
        tags_json: as submitted, the client token first among them.
        price_json: the price when it was accepted.
        visible_us: from when searches find it.
        start_us, end_us: when it runs, known at acceptance; None where it is stuck in the queue.
        state: QUEUED until its end is recorded (what a poll says of it also depends on the time).
        shots_done: run by its end.
        has_result: False where the result was lost.
        revives_us: when a cancelled job turns out to be done after all.
        cost_micro_usd: billed at its end, later lines left out.
    """

    job_id: str
    device: str
    token: str | None
    tags_json: str
    plan_json: str
    plan_sha256: str
    price_json: str
    submitted_us: int
    visible_us: int
    start_us: int | None
    end_us: int | None
    state: str = JobState.QUEUED
    shots_done: int = 0
    has_result: int = 1
    revives_us: int | None = None
    cost_micro_usd: int | None = None
    message: str = ""

    @cached_property
    def plan(self) -> ExecutionPlan:
        return PlanMessage.model_validate_json(self.plan_json).plan()

    @property
    def price(self) -> Price:
        return Price.model_validate_json(self.price_json)

    @property
    def tags(self) -> tuple[str, ...]:
        return tuple(json.loads(self.tags_json))

    @property
    def subject(self) -> str:
        """What random faults are drawn for: the same on every run that uses the same tokens."""
        return self.tags[0]

    @property
    def ended(self) -> bool:
        return JobState(self.state).ended

    def state_at(self, now_us: int) -> JobState:
        """What an honest poll says."""
        if self.ended:
            return JobState(self.state)
        running = self.start_us is not None and self.start_us <= now_us
        return JobState.RUNNING if running else JobState.QUEUED

    def shots_run_by(self, now_us: int) -> int:
        """Shots that have run while the job is under way, in proportion to its time."""
        if self.start_us is None or self.end_us is None or now_us <= self.start_us:
            return 0
        span_us = max(1, self.end_us - self.start_us)
        return self.plan.shots_total * min(span_us, now_us - self.start_us) // span_us


def schedule(plan: ExecutionPlan, queue: QueueModel, now_us: int, free_us: int) -> tuple[int, int]:
    """(start, end) of a job accepted now on a device whose earlier jobs keep it busy until `free_us`."""
    latency_us = int(queue.latency_s * queue.wait_scale * 1_000_000)
    run_us = int(queue.run_s(len(plan), plan.shots_total) * queue.wait_scale * 1_000_000)
    start_us = max(now_us + latency_us, free_us)
    return start_us, start_us + run_us
