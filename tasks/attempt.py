"""One attempt at a batch: a job of one device, brought to its end from wherever the journal has it."""

from __future__ import annotations

import time
from dataclasses import dataclass

from backends.catalog import DeviceDescription
from backends.provider import (
    JobGone,
    JobReport,
    ProviderUnavailable,
    ResultMissing,
    SubmitRejected,
    SubmitUnknown,
)
from ledger import Amount, JobBook, JobKey, JobPhase, JobRecord, Refusal
from measurement import ExecutionPlan, Outcome
from shotwise.errors import RunFailedError
from tasks.delivery import shape_sha256
from tasks.paid_job import PaidJob
from tasks.patience import UnresolvedJobError
from tasks.rate_limit import wait_for_rate_limit
from tasks.telemetry import span


class NothingMoreIsBoughtError(RunFailedError):
    """A closing run's batch needs a job that does not exist yet."""


@dataclass(frozen=True, eq=False)
class Attempt:
    """What shall be bought as one job of a device, or was."""

    job: PaidJob
    description: DeviceDescription
    plan: ExecutionPlan

    @property
    def _key(self) -> JobKey:
        return self.job.key

    @property
    def _book(self) -> JobBook:
        return self.job.book

    def bring_to_end(self, record: JobRecord | None) -> Outcome | None:
        """Its outcome, None where it brought none.

        Args:
            record: what the journal has of it.

        Raises:
            SubmitRejected: the provider took nothing; that is entered.
            UnresolvedJobError: it cannot be said yet whether it was bought.
        """
        if record is None:
            return self._begin()
        self._check_same_work(record)
        if record.state is JobPhase.DONE:
            if record.outcome is None:
                raise RunFailedError(f"job {self._key.token}: its outcome is damaged; restore the database")
            return Outcome.from_bytes(record.outcome)
        if record.state.ended:
            return None
        if record.state is JobPhase.SUBMITTED:
            assert record.vendor_job_id is not None
            return self._await(record.vendor_job_id)
        return self._resolve()

    def _check_same_work(self, record: JobRecord) -> None:
        """Refuse to read a job as another batch's: a device's limits may have changed since it was bought.

        Raises:
            NothingMoreIsBoughtError: closing; the job is for `Buyer.abandon` to end.
        """
        if record.plan_sha256 in (None, shape_sha256(self.plan)):
            return
        if self.job.closing:
            raise NothingMoreIsBoughtError(f"{record.run_id}: shall end")
        raise RunFailedError(
            f"job {record.token} on {record.device} was bought for other circuits or shots than this version "
            "cuts now; put the catalog's limits back to what they were and `shotwise resume`, or "
            "`shotwise cancel` the run"
        )

    def _begin(self) -> Outcome | None:
        """Enter it, then send it."""
        quote = self._worst_micro_usd()
        sold = self._sold_before()
        self._book.intend(
            self._key,
            device=self.description.name,
            reserved=Amount(self.plan.shots_total, quote),
            price_json=self.description.price.model_dump_json(),
            plan_sha256=shape_sha256(self.plan),
            calibration_json=self.job.fleet.calibration_json(self.description.name),
        )
        return self._await_submitted(sold) if sold else self._submit()

    def _worst_micro_usd(self) -> int:
        """Reserved for it: its quote, and on a device that ends no job at it, what one has cost."""
        fleet, device = self.job.fleet, self.description.name
        quote = self.job.ask(lambda: fleet.quote_micro_usd(device, self.plan))
        return max(quote, self._book.highest_cost_micro_usd(device)) if self.description.endless else quote

    def _sold_before(self) -> str | None:
        """The job of a token that the journal thinks new: it may have been restored from an old backup."""
        if self.job.provider.honours_tokens:
            return None  # submitting again finds the job
        found = self.job.find()
        return found[0] if found else None

    def _submit(self) -> Outcome | None:
        try:
            job_id = self._send()
        except SubmitRejected as error:
            for_good = error.permanent and not error.ours
            refusal = Refusal.FOR_GOOD if for_good else Refusal.FOR_NOW
            self._book.mark_refused(self._key, refusal, str(error))
            raise
        except SubmitUnknown as error:
            self._book.mark_unknown(self._key, str(error))
            return self._resolve()
        return self._await_submitted(job_id)

    def _send(self) -> str:
        lease = self._book.lease
        wait_for_rate_limit(lease.database, self.description, self.job.patience.sleep)
        lease.renew()  # refuses a driver that slept: what it sends, it must still own
        with span("submit", self._key.run_id, token=self._key.token, device=self.description.name):
            return self.job.provider.submit(self.plan, self._key.token)

    def _resolve(self) -> Outcome | None:
        """Find out whether it was bought; only the provider's answer decides."""
        backoff, retry_policy = self.job.patience.backoff(), self.job.patience.retry_policy
        asked = time.monotonic()
        while True:
            try:
                job_id = self._found_or_sent_again()
                if job_id is not None:
                    return self._await_submitted(job_id)
                if time.monotonic() - asked > retry_policy.visible_s:
                    self.job.enter_absent()
                    return None
            except (ProviderUnavailable, SubmitUnknown) as error:
                if time.monotonic() - asked > retry_policy.unavailable_s:
                    device = self.description.name
                    raise UnresolvedJobError(f"job {self._key.token} on {device}: {error}") from None
            except SubmitRejected as error:
                # Refused now, which says nothing about the first time: a job may still turn up by its tag.
                if time.monotonic() - asked > retry_policy.visible_s:
                    self._book.mark_ended(self._key, JobPhase.FAILED, Amount(), str(error))
                    return None
            backoff.wait()

    def _found_or_sent_again(self) -> str | None:
        """The provider's id of it, asked for once; None where it has none yet."""
        found = self.job.provider.find(self._key.token)
        if found:
            return found[0]
        if self.job.provider.honours_tokens and not self.job.closing:
            return self._send()  # the same token cannot buy a second job
        return None

    def _await_submitted(self, job_id: str) -> Outcome | None:
        self._book.mark_submitted(self._key, job_id)
        return self._await(job_id)

    def _await(self, job_id: str) -> Outcome | None:
        """Wait for its end and enter what it brought together with what it cost."""
        report = self._end_of(job_id)
        outcome, why = None, report.message or report.state.value
        try:
            outcome = self._fetched(job_id)
        except ResultMissing as error:
            why = str(error)
        cost = self.job.cost(report)
        shots = int(outcome.counts.sum()) if outcome is not None else 0
        if outcome is None or not shots:
            self.job.enter_without_result(report, Amount(0, cost), why)
            return None
        settled = self._book.mark_done(self._key, outcome.to_bytes(), Amount(shots, cost))
        if cost > settled.reserved.micro_usd:
            # its price may have changed: the next quote is a new one
            self.job.fleet.forget(self.description.name)
        return outcome

    def _end_of(self, job_id: str) -> JobReport:
        """Wait for its end. Raises UnresolvedJobError where the provider knows it no longer."""
        with span("wait", self._key.run_id, token=self._key.token, device=self.description.name):
            try:
                return self.job.poll_to_end(job_id)
            except JobGone as error:
                remedy = "if it is gone for good, `shotwise cancel` ends the run and takes it as spent"
                raise UnresolvedJobError(f"job {self._key.token}: {error}; {remedy}") from None

    def _fetched(self, job_id: str) -> Outcome:
        """Its result. Raises ResultMissing where the provider says so twice."""
        try:
            return self.job.ask(lambda: self.job.provider.fetch(job_id, self.plan))
        except ResultMissing:
            self.job.patience.sleep(self.job.patience.retry_policy.visible_s)
            return self.job.ask(lambda: self.job.provider.fetch(job_id, self.plan))
