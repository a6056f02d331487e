"""A job at its provider, whatever it is for: found, waited for or cancelled, and what it cost."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from backends.fleet import Fleet
from backends.prices import FailureBilling, Price
from backends.provider import TODAYS, JobGone, JobReport, JobState, Provider
from ledger import Amount, JobBook, JobKey, JobPhase, JobRecord
from tasks.patience import Patience

R = TypeVar("R")


@dataclass(frozen=True, eq=False)
class PaidJob:
    """One job of a run at one provider.

    Attributes:
        closing: it is cancelled where the provider still can, before it is waited for.
    """

    book: JobBook
    fleet: Fleet
    patience: Patience
    closing: bool
    key: JobKey
    provider: Provider

    def ask(self, call: Callable[[], R]) -> R:
        """What its provider answers. Raises UnresolvedJobError where it does not."""
        return self.patience.answer(call, self.provider.name)

    def find(self) -> list[str]:
        """The provider's jobs of its token."""
        return self.ask(lambda: self.provider.find(self.key.token))

    def abandon(self, record: JobRecord) -> None:
        """End a job that nothing waits for, and settle it.

        Raises:
            UnresolvedJobError: the provider does not answer; its reservation stays held.
        """
        found = [record.vendor_job_id] if record.vendor_job_id else self._find_or_wait()
        if not found:
            self.enter_absent()
            return
        try:
            report = self.poll_to_end(found[0])
        except JobGone as error:  # it was taken, and may have run: too much goes back when reconciled
            reserved = Amount(record.shots, self.book.reserved_micro_usd(self.key))
            self.book.mark_ended(self.key, JobPhase.FAILED, reserved, f"taken as spent: {error}")
            return
        ran = record.shots if report.state is JobState.DONE else 0
        self.enter_without_result(report, Amount(ran, self.cost(report)), "nothing waited for it any more")

    def _find_or_wait(self) -> list[str]:
        """The provider's jobs of its token; asked again before an accepted one must be visible."""
        found = self.find()
        if not found:
            self.patience.sleep(self.patience.retry_policy.visible_s)
            found = self.find()
        return found

    def enter_absent(self) -> None:
        """Enter that it was never bought."""
        self.book.mark_ended(self.key, JobPhase.FAILED, Amount(), "the provider has no such job")

    def enter_without_result(self, report: JobReport, actual: Amount, why: str) -> None:
        """Enter that it ended and brought nothing."""
        phase = JobPhase.CANCELLED if report.state is JobState.CANCELLED else JobPhase.FAILED
        self.book.mark_ended(self.key, phase, actual, why)

    def poll_to_end(self, job_id: str) -> JobReport:
        """Wait until it has ended; one that is queued for too long is cancelled.

        Raises:
            JobGone: the provider knows it no longer.
        """
        backoff, price = self.patience.backoff(), self._price_then()
        began = time.monotonic()
        seen_running = False
        if self.closing:
            self.ask(lambda: self.provider.cancel(job_id))
        while True:
            report = self.ask(lambda: self.provider.poll(job_id, price))
            if report.state.ended:
                return report
            if report.state is JobState.RUNNING and not seen_running:
                self.book.mark_started(self.key)
                seen_running = True
            stuck = time.monotonic() - began > self.patience.retry_policy.stuck_s
            if report.state is JobState.QUEUED and stuck:
                self.book.lease.renew()
                if self.ask(lambda: self.provider.cancel(job_id)).state.ended:
                    continue
            backoff.wait()

    def cost(self, report: JobReport) -> int:
        """What it cost once ended, in micro-USD, waited for while the provider counts; else what is billed.

        Where neither says it, nothing for a failure that its price bills nothing for, and else all that was
        reserved: too much goes back when the bill is reconciled, and too little would be spent twice.
        """
        job_id, price = report.job_id, self._price_then()
        report = self._counted(report, price)
        if report.cost_micro_usd is not None:
            return report.cost_micro_usd
        prices = {self.key.token: price} if price else TODAYS
        bill = self.ask(lambda: self.provider.bill(prices))
        lines = [line for line in bill if line.job_id == job_id]
        if lines:
            return sum(line.cost_micro_usd for line in lines)
        billing = (price or self.fleet.description(self.provider.name).price).failure_billing
        free = report.state is not JobState.DONE and billing is FailureBilling.NONE
        return 0 if free else self.book.reserved_micro_usd(self.key)

    def _counted(self, report: JobReport, price: Price | None) -> JobReport:
        """Its report, asked for again while its cost is counted."""
        backoff, asked, job_id = self.patience.backoff(), time.monotonic(), report.job_id
        while report.counting and time.monotonic() - asked < self.patience.retry_policy.counted_s:
            backoff.wait()
            report = self.ask(lambda: self.provider.poll(job_id, price))
        return report

    def _price_then(self) -> Price | None:
        """The device's price when it was bought; None of jobs that older versions entered."""
        told = self.book.price_json(self.key)
        return Price.model_validate_json(told) if told else None
