"""Buying a batch so that nothing is lost and nothing is bought twice, whatever happens in between.

Every step is entered in the journal before the next is taken, so this same code starts a job, goes on with
one that an earlier process left anywhere, and ends it. Retries of what is paid happen here and nowhere else.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import TypeVar

from backends.fleet import Fleet
from backends.provider import SubmitRejected
from ledger import JobBook, JobKey, JobRecord, Refusal
from measurement import ExecutionPlan, Outcome
from shotwise.errors import CannotRunError
from tasks.attempt import Attempt, NothingMoreIsBoughtError
from tasks.delivery import Delivery, join_deliveries, shape_sha256, undelivered
from tasks.paid_job import PaidJob
from tasks.patience import Patience
from tasks.retries import RetryPolicy, SubmitRetry

R = TypeVar("R")


class DeviceGaveUpError(CannotRunError):
    """A device refused or failed a batch for good; another may take what was not delivered yet.

    Attributes:
        delivered: what it brought of the batch before.
        before: an earlier process gave it up; it may take something else now.
    """

    def __init__(
        self, device: str, why: str, delivered: tuple[Delivery, ...] = (), *, before: bool = False
    ) -> None:
        self.device, self.delivered, self.before = device, delivered, before
        super().__init__("execution.device", device, why, "allow other devices or try again later")


@dataclass(frozen=True, eq=False)
class PurchaseResult:
    """What a batch brought and cost, all attempts together."""

    outcome: Outcome
    cost_micro_usd: int
    shots: int


@dataclass(frozen=True, eq=False)
class Buyer:
    """Buys batches for one run."""

    book: JobBook
    fleet: Fleet
    retry_policy: RetryPolicy = field(default_factory=RetryPolicy)
    sleep: Callable[[float], None] = time.sleep
    hold: Callable[[str], AbstractContextManager[object]] = nullcontext
    """Takes a device's slot while a job of it is out."""
    check_stop: Callable[[], None] = lambda: None
    """Called before a job is entered; raises to buy no more now."""
    closing: bool = False
    """Only end what is in flight, cancelled where the provider still can, and buy nothing."""

    def buy(
        self, iteration: int, batch: int, device: str, plan: ExecutionPlan, *, moved_on: bool = False
    ) -> PurchaseResult:
        """Run `plan`, which fits into one job of `device`, to the last shot.

        Partial results are kept and only the missing shots are bought again. What an earlier process bought
        counts, on this or another device; how often that failed does not.

        Args:
            moved_on: an earlier process gave this device up and turned to another: nothing more is bought.

        Raises:
            BudgetExceededError: the next attempt does not fit; nothing was entered for it.
            DeviceGaveUpError: the device failed `attempts_max` times in this drive, or refused for good.
            UnresolvedJobError: it cannot be said yet whether a job was bought.
            NothingMoreIsBoughtError: closing, and the batch is not complete.
        """
        known = self.book.attempts(iteration, batch)
        submit_retry = SubmitRetry(self._patience.backoff(), only_device=self.fleet.names == (device,))
        delivered: list[Delivery] = []
        failures = attempt = 0
        while (left := undelivered(plan, delivered)) is not None:
            rows, need = left
            record = known[attempt] if attempt < len(known) else None
            if record is None and moved_on:
                raise DeviceGaveUpError(device, "given up before", tuple(delivered), before=True)
            if record is None and self.closing:
                raise NothingMoreIsBoughtError(f"{self.book.lease.run_id}: shall end")
            if record is None:
                self.check_stop()
            key = JobKey(self.book.lease.run_id, iteration, batch, attempt)
            where = record.device if record else device
            attempt += 1
            if record is not None and record.refusal:
                if record.refusal is Refusal.FOR_GOOD and record.plan_sha256 == shape_sha256(need):
                    raise DeviceGaveUpError(device, record.note or "", tuple(delivered))
                continue
            try:
                with self.hold(where):
                    outcome = self._attempt(key, where, need).bring_to_end(record)
            except SubmitRejected as error:
                if not submit_retry.wait_for_retry(error):
                    raise DeviceGaveUpError(device, str(error), tuple(delivered)) from None
                continue
            if outcome is not None:
                delivered.append(Delivery(rows, need, outcome))
                continue
            if record is not None and record.state.ended:
                continue  # it failed in an earlier drive; this one asks again
            failures += 1
            if failures >= self.retry_policy.attempts_max:
                why = f"failed {failures} times"
                raise DeviceGaveUpError(device, why, tuple(delivered))
        spent = self.book.attempts(iteration, batch)
        cost, shots = sum(r.cost_micro_usd for r in spent), sum(r.shots for r in spent)
        return PurchaseResult(join_deliveries(plan, delivered), cost, shots)

    def abandon(self, record: JobRecord) -> None:
        """End a job that nothing waits for: cancelled where the provider still can, and settled.

        Raises:
            UnresolvedJobError: the provider does not answer; its reservation stays held.
        """
        key = JobKey(record.run_id, record.iteration, record.batch, record.attempt)
        replace(self, closing=True)._job(key, record.device).abandon(record)

    def with_retries(self, call: Callable[[], R]) -> R:
        """Repeat a call that changes nothing until it is answered, or the retry policy is exhausted."""
        return self._patience.with_retries(call)

    def _attempt(self, key: JobKey, device: str, plan: ExecutionPlan) -> Attempt:
        job = self._job(key, device)
        description = self._patience.answer(lambda: self.fleet.description(device), device)
        return Attempt(job, description, plan)

    def _job(self, key: JobKey, device: str) -> PaidJob:
        provider = self._patience.answer(lambda: self.fleet.provider(device), device)
        return PaidJob(self.book, self.fleet, self._patience, self.closing, key, provider)

    @property
    def _patience(self) -> Patience:
        return Patience(self.retry_policy, self.sleep)
