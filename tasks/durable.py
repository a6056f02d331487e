"""Buying a batch so that nothing is lost and nothing is bought twice, whatever happens in between.

Every step is entered in the journal before the next is taken, so this same code starts a job, goes on with
one that an earlier process left anywhere, and ends it. Retries of what is paid happen here and nowhere else.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

import numpy as np

from backends.catalog import DeviceDescription, usage_of
from backends.fleet import Fleet
from backends.provider import (
    JobReport,
    JobState,
    Provider,
    ProviderUnavailable,
    ResultMissing,
    SubmitRejected,
    SubmitUnknown,
)
from ledger import Amount, JobBook, JobKey, JobPhase, JobRecord
from measurement import ExecutionPlan, Outcome
from shotwise.errors import CannotRunError, RunFailedError
from tasks.pacing import wait_for_turn
from tasks.telemetry import span

R = TypeVar("R")

REFUSED = "refused:"
"""How the note of a job begins that its provider will never take."""


class DeviceGaveUpError(CannotRunError):
    """A device refused or failed a batch for good; another may take it."""

    def __init__(self, device: str, why: str, attempts: int) -> None:
        self.device, self.attempts = device, attempts
        super().__init__("execution.device", device, why, "allow other devices or try again later")


class UnresolvedJobError(RunFailedError):
    """Nobody can say yet whether a job was bought. Its reservation stays held; `resume` asks again."""


class NothingMoreIsBoughtError(RunFailedError):
    """A closing run's batch needs a job that does not exist yet."""


@dataclass(frozen=True)
class Patience:
    """How long to wait for what. Waits grow from `first_s` to `longest_s` and carry a jitter of a quarter.

    Attributes:
        attempts_max: jobs bought or refused for one batch before the device is given up.
        unavailable_s: how long a provider may give no usable answer.
        visible_s: how long an accepted job may stay invisible to a search by its token.
        stuck_s: how long a job may be queued before it is cancelled.
    """

    first_s: float = 0.05
    longest_s: float = 30.0
    attempts_max: int = 6
    unavailable_s: float = 600.0
    visible_s: float = 5.0
    stuck_s: float = 24 * 3600.0


@dataclass
class Pause:
    """Growing waits with jitter. The jitter decides no result, so it needs no seed."""

    patience: Patience
    sleep: Callable[[float], None] = time.sleep
    next_s: float = 0.0

    def wait(self, at_least_s: float = 0.0) -> None:
        self.next_s = min(max(self.patience.first_s, 2 * self.next_s), self.patience.longest_s)
        self.sleep(max(at_least_s, self.next_s * random.uniform(0.75, 1.25)))


@dataclass
class Breaker:
    """Keeps a device that failed again and again out of use for a while."""

    failures_max: int = 3
    open_s: float = 60.0
    failures: dict[str, int] = field(default_factory=dict)
    opened_at: dict[str, float] = field(default_factory=dict)

    def failed(self, device: str) -> None:
        self.failures[device] = self.failures.get(device, 0) + 1
        if self.failures[device] >= self.failures_max:
            self.opened_at[device] = time.monotonic()

    def worked(self, device: str) -> None:
        self.failures.pop(device, None)
        self.opened_at.pop(device, None)

    def is_open(self, device: str) -> bool:
        opened = self.opened_at.get(device)
        return opened is not None and time.monotonic() - opened < self.open_s


@dataclass(frozen=True, eq=False)
class Bought:
    """What a batch brought and cost, all attempts together."""

    outcome: Outcome
    cost_micro_usd: int
    shots: int


@dataclass(frozen=True, eq=False)
class Buyer:
    """Buys batches for one run."""

    book: JobBook
    fleet: Fleet
    patience: Patience = Patience()
    breaker: Breaker = field(default_factory=Breaker)
    sleep: Callable[[float], None] = time.sleep
    hold: Callable[[str], AbstractContextManager[object]] = nullcontext
    """Takes a device's slot while a job of it is out."""
    closing: bool = False
    """Only end what is in flight, cancelled where the provider still can, and buy nothing."""

    def buy(self, iteration: int, batch: int, device: str, plan: ExecutionPlan) -> Bought:
        """Run `plan`, which fits into one job of `device`, to the last shot.

        Partial results are kept and only the missing shots are bought again. Attempts that an earlier
        process made, on this or another device, count.

        Raises:
            BudgetExceededError: the next attempt does not fit; nothing was entered for it.
            DeviceGaveUpError: the device failed `attempts_max` times, or refused for good.
            UnresolvedJobError: it cannot be said yet whether a job was bought.
            NothingMoreIsBoughtError: closing, and the batch is not complete.
        """
        known = self.book.attempts(iteration, batch)
        failures = 0
        parts: list[tuple[ExecutionPlan, Outcome]] = []
        attempt = 0
        while (need := missing(plan, parts)) is not None:
            record = known[attempt] if attempt < len(known) else None
            if record is None and self.closing:
                raise NothingMoreIsBoughtError(f"{self.book.lease.run_id}: shall end")
            key = JobKey(self.book.lease.run_id, iteration, batch, attempt)
            where = record.device if record else device
            if record is not None and record.state.ended and (record.note or "").startswith(REFUSED):
                raise DeviceGaveUpError(device, record.note or "", attempt + 1)
            with self.hold(where):
                outcome = self._attempt(key, record, where, need)
            attempt += 1
            if outcome is not None:
                parts.append((need, outcome))
                self.breaker.worked(where)
                continue
            failures += 1
            self.breaker.failed(where)
            if failures >= self.patience.attempts_max:
                raise DeviceGaveUpError(device, f"failed {failures} times", attempt)
        spent = self.book.attempts(iteration, batch)
        return Bought(joined(plan, parts), sum(r.cost_micro_usd for r in spent), sum(r.shots for r in spent))

    def _attempt(
        self, key: JobKey, record: JobRecord | None, device: str, plan: ExecutionPlan
    ) -> Outcome | None:
        """Bring one attempt to its end from wherever it is; its outcome, None where it brought none."""
        provider, description = self.fleet.provider(device), self.fleet.description(device)
        if record is None:
            quote = self.fleet.quote_micro_usd(device, plan)
            sold = self._sold_before(key, provider)
            self.book.intend(
                key,
                device=device,
                promise=Amount(plan.shots_total, quote),
                calibration_json=self.fleet.calibration_json(device),
            )
            return self._submit(key, provider, description, plan, sold)
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
            note = f"{REFUSED} {error}" if error.permanent else str(error)
            self.book.ended(key, JobPhase.FAILED, Amount(), note)
            if error.permanent:
                self.breaker.failed(description.name)
                raise DeviceGaveUpError(description.name, str(error), key.attempt + 1) from None
            Pause(self.patience, self.sleep).wait(error.retry_after_s or 0.0)
            return None
        except SubmitUnknown as error:
            self.book.unknown(key, str(error))
            return self._resolve(key, provider, description, plan)
        self.book.submitted(key, job_id)
        return self._await(key, provider, description, plan, job_id)

    def _send(
        self, provider: Provider, description: DeviceDescription, plan: ExecutionPlan, key: JobKey
    ) -> str:
        wait_for_turn(self.book.lease.database, description, self.sleep)
        with span("submit", key.run_id, token=key.token, device=description.name):
            return provider.submit(plan, key.token)

    def _sold_before(self, key: JobKey, provider: Provider) -> str | None:
        """The job of a token that the journal thinks new: it may have been restored from an old backup."""
        if provider.honours_tokens:
            return None  # submitting again finds the job
        found = self._ask(lambda: provider.find(key.token), provider.name)
        return found[0] if found else None

    def _resolve(
        self, key: JobKey, provider: Provider, description: DeviceDescription, plan: ExecutionPlan
    ) -> Outcome | None:
        """Find out whether a job was bought; only the provider's answer decides."""
        pause = Pause(self.patience, self.sleep)
        asked = time.monotonic()
        while True:
            try:
                found = provider.find(key.token)
                if found:
                    self.book.submitted(key, found[0])
                    return self._await(key, provider, description, plan, found[0])
                if provider.honours_tokens and not self.closing:
                    self.book.lease.renew()  # refuses a driver that slept: what it sends, it must still own
                    # the same token cannot buy a second job
                    job_id = self._send(provider, description, plan, key)
                    self.book.submitted(key, job_id)
                    return self._await(key, provider, description, plan, job_id)
                if time.monotonic() - asked > self.patience.visible_s:
                    self.book.ended(key, JobPhase.FAILED, Amount(), "the provider has no such job")
                    return None
            except (ProviderUnavailable, SubmitUnknown) as error:
                if time.monotonic() - asked > self.patience.unavailable_s:
                    raise UnresolvedJobError(f"job {key.token} on {description.name}: {error}") from None
            except SubmitRejected as error:
                # Refused now, which says nothing about the first time: a job may still turn up by its tag.
                if time.monotonic() - asked > self.patience.visible_s:
                    self.book.ended(key, JobPhase.FAILED, Amount(), str(error))
                    return None
            pause.wait()

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
            report = self._poll_to_end(provider, job_id, partial(self.book.started, key))
        try:
            outcome = self._ask(lambda: provider.fetch(job_id, plan), description.name)
        except ResultMissing as error:
            outcome, why = None, str(error)
        else:
            why = report.message or report.state.value
        shots = int(outcome.counts.sum()) if outcome is not None else 0
        if outcome is not None and shots > 0:
            actual = Amount(shots, self._cost(provider, report, plan, shots))
            self.book.done(key, outcome.to_bytes(), actual)
            if actual.micro_usd > self.fleet.quote_micro_usd(description.name, plan):
                self.fleet.forget(description.name)  # its price may have changed: the next quote is a new one
            return outcome
        phase = JobPhase.CANCELLED if report.state is JobState.CANCELLED else JobPhase.FAILED
        billed = self._billed(provider, report)
        self.book.ended(key, phase, Amount(0, billed), why)
        return None

    def _poll_to_end(self, provider: Provider, job_id: str, started: Callable[[], None]) -> JobReport:
        pause = Pause(self.patience, self.sleep)
        began = time.monotonic()
        seen_running = False
        if self.closing:
            self._ask(lambda: provider.cancel(job_id), provider.name)
        while True:
            report = self._ask(lambda: provider.poll(job_id), provider.name)
            if report.state.ended:
                return report
            if report.state is JobState.RUNNING and not seen_running:
                started()
                seen_running = True
            if report.state is JobState.QUEUED and time.monotonic() - began > self.patience.stuck_s:
                self.book.lease.renew()
                report = self._ask(lambda: provider.cancel(job_id), provider.name)
                if report.state.ended:
                    return report
            pause.wait()

    def _cost(self, provider: Provider, report: JobReport, plan: ExecutionPlan, shots: int) -> int:
        """What a job cost: as reported, else as billed, else its price for what it ran."""
        if report.cost_micro_usd is not None:
            return report.cost_micro_usd
        billed = self._bill_of(provider, report.job_id)
        if billed is not None:
            return billed
        description = self.fleet.description(provider.name)
        ran = replace(plan, shots=plan.shots * shots // max(plan.shots_total, 1))
        return description.price.cost_micro_usd(usage_of(ran, description))

    def _billed(self, provider: Provider, report: JobReport) -> int:
        if report.cost_micro_usd is not None:
            return report.cost_micro_usd
        return self._bill_of(provider, report.job_id) or 0

    def _bill_of(self, provider: Provider, job_id: str) -> int | None:
        lines = [line for line in self._ask(provider.bill, provider.name) if line.job_id == job_id]
        return sum(line.cost_micro_usd for line in lines) if lines else None

    def _ask(self, question: Callable[[], R], device: str) -> R:
        try:
            return self.patiently(question, ProviderUnavailable)
        except ProviderUnavailable as error:
            raise UnresolvedJobError(f"{device}: {error}") from None

    def patiently(self, question: Callable[[], R], silence: type[Exception]) -> R:
        """Ask what changes nothing until there is an answer, or patience with `silence` is at its end."""
        pause = Pause(self.patience, self.sleep)
        asked = time.monotonic()
        while True:
            try:
                return question()
            except silence:
                if time.monotonic() - asked > self.patience.unavailable_s:
                    raise
            pause.wait()


def missing(plan: ExecutionPlan, parts: list[tuple[ExecutionPlan, Outcome]]) -> ExecutionPlan | None:
    """The shots of `plan` that no part has brought yet, None where none are missing.

    While nothing was brought it is the plan itself, so a plain retry draws the same numbers; what is bought
    to complete a partial result draws from a seed of its own.
    """
    if not parts:
        return plan
    left = plan.shots.copy()
    for part, outcome in parts:
        np.subtract.at(left, _rows_in(plan, part), shots_by_row(outcome))
    rows = np.flatnonzero(left > 0)
    if not len(rows):
        return None
    seed = (*plan.seed, 1_000_000 + len(parts))
    return replace(plan, point=plan.point[rows], basis=plan.basis[rows], shots=left[rows], seed=seed)


def joined(plan: ExecutionPlan, parts: list[tuple[ExecutionPlan, Outcome]]) -> Outcome:
    """The outcome of `plan` from its parts; counts of a row are added."""
    rows: list[dict[int, int]] = [{} for _ in range(len(plan))]
    for part, outcome in parts:
        for at, row in enumerate(_rows_in(plan, part)):
            states, counts = outcome.row(at)
            for state, count in zip(states.tolist(), counts.tolist(), strict=True):
                rows[row][state] = rows[row].get(state, 0) + count
    ordered = [sorted(row.items()) for row in rows]
    return Outcome.from_rows(
        [
            (np.array([s for s, _ in row], dtype=np.int64), np.array([c for _, c in row], dtype=np.int64))
            for row in ordered
        ]
    )


def shots_by_row(outcome: Outcome) -> np.ndarray:
    """Shots that each row brought."""
    return np.array([int(outcome.row(row)[1].sum()) for row in range(len(outcome))], dtype=np.int64)


def _rows_in(plan: ExecutionPlan, part: ExecutionPlan) -> np.ndarray:
    """For each row of a part, the row of the plan with its point and basis."""
    at = {(int(p), int(b)): row for row, (p, b) in enumerate(zip(plan.point, plan.basis, strict=True))}
    return np.array([at[int(p), int(b)] for p, b in zip(part.point, part.basis, strict=True)], dtype=np.int64)
