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

from backends.catalog import DeviceDescription
from backends.fleet import Fleet
from backends.prices import FailureBilling, Price
from backends.provider import (
    TODAYS,
    JobGone,
    JobReport,
    JobState,
    Provider,
    ProviderUnavailable,
    ResultMissing,
    SubmitRejected,
    SubmitUnknown,
)
from ledger import Amount, JobBook, JobKey, JobPhase, JobRecord, Refusal
from measurement import ExecutionPlan, Outcome
from shotwise.errors import CannotRunError, RunFailedError, UnreachableError
from tasks.delivery import Delivery, join_deliveries, shape_sha256, undelivered
from tasks.rate_limit import wait_for_rate_limit
from tasks.retries import Backoff, RetryPolicy, SubmitRetry
from tasks.telemetry import span

R = TypeVar("R")

SILENCE = (ProviderUnavailable, UnreachableError)
"""What is raised where a call that buys nothing got no usable answer."""


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


class UnresolvedJobError(RunFailedError):
    """Nobody can say yet whether a job was bought. Its reservation stays held; `resume` asks again."""


class NothingMoreIsBoughtError(RunFailedError):
    """A closing run's batch needs a job that does not exist yet."""


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
        submit_retry = SubmitRetry(
            Backoff(self.retry_policy, self.sleep), only_device=self.fleet.names == (device,)
        )
        delivered: list[Delivery] = []
        failures = attempt = 0
        while (left := undelivered(plan, delivered)) is not None:
            rows, need = left
            record = known[attempt] if attempt < len(known) else None
            if record is None and moved_on:
                raise DeviceGaveUpError(device, "given up before", tuple(delivered), before=True)
            if record is None and self.closing:
                raise NothingMoreIsBoughtError(f"{self.book.lease.run_id}: shall end")
            key = JobKey(self.book.lease.run_id, iteration, batch, attempt)
            where = record.device if record else device
            attempt += 1
            if record is not None and record.refusal:
                if record.refusal is Refusal.FOR_GOOD and record.plan_sha256 == shape_sha256(need):
                    raise DeviceGaveUpError(device, record.note or "", tuple(delivered))
                continue
            try:
                with self.hold(where):
                    outcome = self._attempt(key, record, where, need)
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
        provider = self._query(lambda: self.fleet.provider(record.device), record.device)
        found = [record.vendor_job_id] if record.vendor_job_id else self._found(provider, key.token)
        if not found:
            self.book.mark_ended(key, JobPhase.FAILED, Amount(), "the provider has no such job")
            return
        try:
            report = replace(self, closing=True)._poll_to_end(key, provider, found[0])
        except JobGone as error:  # it was taken, and may have run: too much goes back when reconciled
            reserved = Amount(record.shots, self.book.reserved_micro_usd(key))
            self.book.mark_ended(key, JobPhase.FAILED, reserved, f"taken as spent: {error}")
            return
        phase = JobPhase.CANCELLED if report.state is JobState.CANCELLED else JobPhase.FAILED
        ran = record.shots if report.state is JobState.DONE else 0
        actual = Amount(ran, self._cost(key, provider, report))
        self.book.mark_ended(key, phase, actual, "nothing waited for it any more")

    def _found(self, provider: Provider, token: str) -> list[str]:
        """The provider's jobs of a token; asked again before an accepted one must be visible."""
        found = self._query(lambda: provider.find(token), provider.name)
        if not found:
            self.sleep(self.retry_policy.visible_s)
            found = self._query(lambda: provider.find(token), provider.name)
        return found

    def _attempt(
        self, key: JobKey, record: JobRecord | None, device: str, plan: ExecutionPlan
    ) -> Outcome | None:
        """Bring one attempt to its end from wherever it is; its outcome, None where it brought none.

        Raises:
            SubmitRejected: the provider took nothing; that is entered.
        """
        provider = self._query(lambda: self.fleet.provider(device), device)
        description = self._query(lambda: self.fleet.description(device), device)
        if record is None:
            quote = self._worst_micro_usd(description, plan)
            sold = self._sold_before(key, provider)
            self.book.intend(
                key,
                device=device,
                reserved=Amount(plan.shots_total, quote),
                price_json=description.price.model_dump_json(),
                plan_sha256=shape_sha256(plan),
                calibration_json=self.fleet.calibration_json(device),
            )
            return self._submit(key, provider, description, plan, sold)
        self._check_same_work(record, plan)
        if record.state is JobPhase.DONE:
            if record.outcome is None:
                raise RunFailedError(f"job {key.token}: its outcome is damaged; restore the database")
            return Outcome.from_bytes(record.outcome)
        if record.state.ended:
            return None
        if record.state is JobPhase.SUBMITTED:
            assert record.vendor_job_id is not None
            return self._await(key, provider, description, plan, record.vendor_job_id)
        return self._resolve(key, provider, description, plan)

    def _check_same_work(self, record: JobRecord, plan: ExecutionPlan) -> None:
        """Refuse to read a job as another batch's: a device's limits may have changed since it was bought.

        Raises:
            NothingMoreIsBoughtError: closing; the job is for `abandon` to end.
        """
        if record.plan_sha256 in (None, shape_sha256(plan)):
            return
        if self.closing:
            raise NothingMoreIsBoughtError(f"{record.run_id}: shall end")
        raise RunFailedError(
            f"job {record.token} on {record.device} was bought for other circuits or shots than this version "
            "cuts now; put the catalog's limits back to what they were and `shotwise resume`, or "
            "`shotwise cancel` the run"
        )

    def _worst_micro_usd(self, description: DeviceDescription, plan: ExecutionPlan) -> int:
        """Reserved for a job: its quote, and on a device that ends no job at it, what one has cost."""
        quote = self._query(lambda: self.fleet.quote_micro_usd(description.name, plan), description.name)
        return (
            max(quote, self.book.highest_cost_micro_usd(description.name)) if description.endless else quote
        )

    def _submit(
        self,
        key: JobKey,
        provider: Provider,
        description: DeviceDescription,
        plan: ExecutionPlan,
        sold: str | None,
    ) -> Outcome | None:
        try:
            job_id = sold or self._send(provider, description, plan, key)
        except SubmitRejected as error:
            for_good = error.permanent and not error.ours
            self.book.mark_refused(key, Refusal.FOR_GOOD if for_good else Refusal.FOR_NOW, str(error))
            raise
        except SubmitUnknown as error:
            self.book.mark_unknown(key, str(error))
            return self._resolve(key, provider, description, plan)
        self.book.mark_submitted(key, job_id)
        return self._await(key, provider, description, plan, job_id)

    def _send(
        self, provider: Provider, description: DeviceDescription, plan: ExecutionPlan, key: JobKey
    ) -> str:
        wait_for_rate_limit(self.book.lease.database, description, self.sleep)
        self.book.lease.renew()  # refuses a driver that slept: what it sends, it must still own
        with span("submit", key.run_id, token=key.token, device=description.name):
            return provider.submit(plan, key.token)

    def _sold_before(self, key: JobKey, provider: Provider) -> str | None:
        """The job of a token that the journal thinks new: it may have been restored from an old backup."""
        if provider.honours_tokens:
            return None  # submitting again finds the job
        found = self._query(lambda: provider.find(key.token), provider.name)
        return found[0] if found else None

    def _resolve(
        self, key: JobKey, provider: Provider, description: DeviceDescription, plan: ExecutionPlan
    ) -> Outcome | None:
        """Find out whether a job was bought; only the provider's answer decides."""
        backoff = Backoff(self.retry_policy, self.sleep)
        asked = time.monotonic()
        while True:
            try:
                found = provider.find(key.token)
                if found:
                    self.book.mark_submitted(key, found[0])
                    return self._await(key, provider, description, plan, found[0])
                if provider.honours_tokens and not self.closing:
                    # the same token cannot buy a second job
                    job_id = self._send(provider, description, plan, key)
                    self.book.mark_submitted(key, job_id)
                    return self._await(key, provider, description, plan, job_id)
                if time.monotonic() - asked > self.retry_policy.visible_s:
                    self.book.mark_ended(key, JobPhase.FAILED, Amount(), "the provider has no such job")
                    return None
            except (ProviderUnavailable, SubmitUnknown) as error:
                if time.monotonic() - asked > self.retry_policy.unavailable_s:
                    raise UnresolvedJobError(f"job {key.token} on {description.name}: {error}") from None
            except SubmitRejected as error:
                # Refused now, which says nothing about the first time: a job may still turn up by its tag.
                if time.monotonic() - asked > self.retry_policy.visible_s:
                    self.book.mark_ended(key, JobPhase.FAILED, Amount(), str(error))
                    return None
            backoff.wait()

    def _await(
        self,
        key: JobKey,
        provider: Provider,
        description: DeviceDescription,
        plan: ExecutionPlan,
        job_id: str,
    ) -> Outcome | None:
        """Wait for a job's end and enter what it brought together with what it cost."""
        with span("wait", key.run_id, token=key.token, device=description.name):
            try:
                report = self._poll_to_end(key, provider, job_id)
            except JobGone as error:
                remedy = "if it is gone for good, `shotwise cancel` ends the run and takes it as spent"
                raise UnresolvedJobError(f"job {key.token}: {error}; {remedy}") from None
        try:
            outcome = self._fetched(provider, job_id, plan)
        except ResultMissing as error:
            outcome, why = None, str(error)
        else:
            why = report.message or report.state.value
        cost = self._cost(key, provider, report)
        shots = int(outcome.counts.sum()) if outcome is not None else 0
        if outcome is not None and shots > 0:
            actual = Amount(shots, cost)
            reserved = self.book.mark_done(key, outcome.to_bytes(), actual)
            if actual.micro_usd > reserved.reserved.micro_usd:
                self.fleet.forget(description.name)  # its price may have changed: the next quote is a new one
            return outcome
        phase = JobPhase.CANCELLED if report.state is JobState.CANCELLED else JobPhase.FAILED
        self.book.mark_ended(key, phase, Amount(0, cost), why)
        return None

    def _fetched(self, provider: Provider, job_id: str, plan: ExecutionPlan) -> Outcome:
        """A job's result. Raises ResultMissing where the provider says so twice."""
        try:
            return self._query(lambda: provider.fetch(job_id, plan), provider.name)
        except ResultMissing:
            self.sleep(self.retry_policy.visible_s)
            return self._query(lambda: provider.fetch(job_id, plan), provider.name)

    def _poll_to_end(self, key: JobKey, provider: Provider, job_id: str) -> JobReport:
        backoff, price = Backoff(self.retry_policy, self.sleep), self._price_then(key)
        began = time.monotonic()
        seen_running = False
        if self.closing:
            self._query(lambda: provider.cancel(job_id), provider.name)
        while True:
            report = self._query(lambda: provider.poll(job_id, price), provider.name)
            if report.state.ended:
                return report
            if report.state is JobState.RUNNING and not seen_running:
                self.book.mark_started(key)
                seen_running = True
            if report.state is JobState.QUEUED and time.monotonic() - began > self.retry_policy.stuck_s:
                self.book.lease.renew()
                if self._query(lambda: provider.cancel(job_id), provider.name).state.ended:
                    continue
            backoff.wait()

    def _cost(self, key: JobKey, provider: Provider, report: JobReport) -> int:
        """What an ended job cost, in micro-USD, waited for while the provider counts it; else what is billed.

        Where neither says it, nothing for a failure that its price bills nothing for, and else all that was
        reserved: too much goes back when the bill is reconciled, and too little would be spent twice.
        """
        backoff, asked, job_id = Backoff(self.retry_policy, self.sleep), time.monotonic(), report.job_id
        price = self._price_then(key)
        while report.counting and time.monotonic() - asked < self.retry_policy.counted_s:
            backoff.wait()
            report = self._query(lambda: provider.poll(job_id, price), provider.name)
        if report.cost_micro_usd is not None:
            return report.cost_micro_usd
        prices = {key.token: price} if price else TODAYS
        bill = self._query(lambda: provider.bill(prices), provider.name)
        lines = [line for line in bill if line.job_id == job_id]
        if lines:
            return sum(line.cost_micro_usd for line in lines)
        billing = (price or self.fleet.description(provider.name).price).failure_billing
        free = report.state is not JobState.DONE and billing is FailureBilling.NONE
        return 0 if free else self.book.reserved_micro_usd(key)

    def _price_then(self, key: JobKey) -> Price | None:
        """The device's price when a job was bought; None of jobs that older versions entered."""
        told = self.book.price_json(key)
        return Price.model_validate_json(told) if told else None

    def _query(self, call: Callable[[], R], device: str) -> R:
        try:
            return self.with_retries(call)
        except SILENCE as error:
            raise UnresolvedJobError(f"{device}: {error}") from None

    def with_retries(self, call: Callable[[], R]) -> R:
        """Repeat a call that changes nothing until it is answered, or the retry policy is exhausted."""
        backoff = Backoff(self.retry_policy, self.sleep)
        asked = time.monotonic()
        while True:
            try:
                return call()
            except SILENCE:
                if time.monotonic() - asked > self.retry_policy.unavailable_s:
                    raise
            except JobGone:  # one that was just taken may not be seen everywhere yet
                if time.monotonic() - asked > self.retry_policy.visible_s:
                    raise
            backoff.wait()
