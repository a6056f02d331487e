"""Jobs that are bought: each state its own transaction, together with what it does to the ledger.

    INTENT     the row and the reservation of the worst case, together, before anything is sent
    SUBMITTED  the provider's id
    UNKNOWN    the answer was lost; the reservation stays held until the provider answers
    DONE       the raw outcome and the settlement of the actual cost, together
    FAILED, CANCELLED  settled at what was billed, or released; a new attempt has a new token

Every write names the lease's fence, so a stale driver can buy, settle and record nothing.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Column, Connection, case, func, insert, select, update

from ledger import reservations
from ledger.amounts import Amount
from ledger.batch_id import BatchId
from ledger.database import Database
from ledger.lease import Lease
from ledger.records import JobKey, JobPhase, now_us
from ledger.rules import Reservation
from ledger.tables import decisions, jobs

_CALIBRATIONS = BatchId(calibration=True).number
"""Decisions from here on are how a batch is mitigated."""


class Refusal(StrEnum):
    """What a refused submission says about another; the value is how the job's note begins."""

    FOR_GOOD = "refused:"
    """The provider will never take it."""
    FOR_NOW = "turned away:"
    """The provider did not take it then, which says nothing about another time."""


_ENDED = [phase for phase in JobPhase if phase.ended]


@dataclass(frozen=True)
class JobRecord:
    """One bought job.

    Attributes:
        shots, cost_micro_usd: as settled once it ended; what is reserved before.
        outcome: raw counts of a job that is done and undamaged.
        price_json: the device's price when it was bought; plan_sha256: what it was to measure, and how often.
            None of jobs that older versions entered.
    """

    token: str
    run_id: str
    iteration: int
    batch: int
    attempt: int
    device: str
    state: JobPhase
    shots: int
    cost_micro_usd: int
    quote_micro_usd: int | None
    vendor_job_id: str | None
    created_us: int
    done_us: int | None
    outcome: bytes | None
    note: str | None
    submitted_us: int | None
    started_us: int | None
    price_json: str | None
    plan_sha256: str | None

    @property
    def refusal(self) -> Refusal | None:
        """How its provider refused it; None where it was not refused."""
        return next((refusal for refusal in Refusal if (self.note or "").startswith(refusal)), None)

    @property
    def batch_id(self) -> BatchId:
        return BatchId.from_number(self.batch)


class JobBook:
    """The jobs of a run that this process drives."""

    def __init__(self, lease: Lease, account: str) -> None:
        self.lease, self.account = lease, account

    def spent(self, iteration: int) -> dict[BatchId, Amount]:
        """Shots and money of an iteration's jobs by their batch; what is still out counts as reserved."""
        query = (
            select(jobs.c.batch, func.sum(jobs.c.shots), func.sum(jobs.c.cost_micro_usd))
            .where(
                jobs.c.run_id == self.lease.run_id,
                jobs.c.iteration == iteration,
                jobs.c.quote_micro_usd.is_not(None),
            )
            .group_by(jobs.c.batch)
        )
        with self.lease.database.read() as connection:
            rows = connection.execute(query).all()
        return {BatchId.from_number(b): Amount(int(shots), int(cost)) for b, shots, cost in rows}

    def attempts(self, iteration: int, batch: int) -> list[JobRecord]:
        """Every attempt at a piece of work, in order."""
        return jobs_of(self.lease.database, self.lease.run_id, iteration=iteration, batch=batch)

    def decision(self, iteration: int, batch: int, attempt: int) -> str | None:
        """The decision that an earlier drive entered for a piece of work, as JSON."""
        query = select(decisions.c.decision_json).where(
            decisions.c.run_id == self.lease.run_id,
            decisions.c.iteration == iteration,
            decisions.c.batch == batch,
            decisions.c.attempt == attempt,
        )
        with self.lease.database.read() as connection:
            return connection.execute(query).scalar()

    def record_decision(
        self, iteration: int, batch: int, attempt: int, decision_json: str, took_us: int | None = None
    ) -> None:
        """Enter a decision and how long it took, before anything is bought on it."""
        with self.lease.write() as connection:
            connection.execute(
                insert(decisions).values(
                    run_id=self.lease.run_id,
                    iteration=iteration,
                    batch=batch,
                    attempt=attempt,
                    at_us=now_us(),
                    decision_json=decision_json,
                    took_us=took_us,
                )
            )

    def reserved_micro_usd(self, key: JobKey) -> int:
        """What was reserved for a job."""
        return int(self._entered(key, jobs.c.quote_micro_usd))

    def price_json(self, key: JobKey) -> str | None:
        """The device's price when a job was bought; see `JobRecord`."""
        return self._entered(key, jobs.c.price_json)

    def _entered(self, key: JobKey, column: Column[Any]) -> Any:
        with self.lease.database.read() as connection:
            return connection.execute(select(column).where(jobs.c.token == key.token)).scalar_one()

    def highest_cost_micro_usd(self, device: str) -> int:
        """The most that a job of this run has cost on a device; 0 before any has ended."""
        query = select(func.max(jobs.c.cost_micro_usd)).where(
            jobs.c.run_id == self.lease.run_id, jobs.c.device == device, jobs.c.state.in_(_ENDED)
        )
        with self.lease.database.read() as connection:
            return int(connection.execute(query).scalar() or 0)

    def intend(
        self,
        key: JobKey,
        *,
        device: str,
        reserved: Amount,
        price_json: str | None = None,
        plan_sha256: str | None = None,
        calibration_json: str | None = None,
    ) -> None:
        """Enter a job and reserve its worst case, or neither; see `JobRecord`.

        Raises:
            BudgetExceededError: a limit has no room for it.
        """
        at = now_us()
        with self.lease.write() as connection:
            connection.execute(
                insert(jobs).values(
                    token=key.token,
                    **vars(key),
                    device=device,
                    state=JobPhase.INTENT,
                    shots=reserved.shots,
                    cost_micro_usd=reserved.micro_usd,
                    quote_micro_usd=reserved.micro_usd,
                    created_us=at,
                    price_json=price_json,
                    plan_sha256=plan_sha256,
                    calibration_json=calibration_json,
                )
            )
            reservations.reserve(connection, key.token, self.account, reserved, at_us=at, note=device)

    def mark_submitted(self, key: JobKey, vendor_job_id: str) -> None:
        """The provider took the job under this id."""
        with self.lease.write() as connection:
            self._set(
                connection,
                key,
                state=JobPhase.SUBMITTED,
                vendor_job_id=vendor_job_id,
                submitted_us=now_us(),
            )

    def mark_started(self, key: JobKey) -> None:
        """The job was seen running for the first time; jobs too short to be seen so are never entered."""
        with self.lease.write() as connection:
            self._set(connection, key, started_us=now_us())

    def mark_unknown(self, key: JobKey, note: str) -> None:
        """The provider may have taken the job; its reservation stays held."""
        with self.lease.write() as connection:
            self._set(connection, key, state=JobPhase.UNKNOWN, note=note)

    def mark_done(self, key: JobKey, outcome: bytes, actual: Amount) -> Reservation:
        """The raw outcome and the settlement of what it cost, entered together."""
        at = now_us()
        with self.lease.write() as connection:
            self._set(
                connection,
                key,
                state=JobPhase.DONE,
                done_us=at,
                shots=actual.shots,
                cost_micro_usd=actual.micro_usd,
                outcome=outcome,
                sha256=hashlib.sha256(outcome).hexdigest(),
            )
            return reservations.settle(connection, key.token, actual, at_us=at)

    def mark_ended(self, key: JobKey, state: JobPhase, actual: Amount, note: str) -> None:
        """A job without a result: settled at what was billed for it, or released."""
        at = now_us()
        with self.lease.write() as connection:
            self._set(
                connection,
                key,
                state=state,
                done_us=at,
                shots=actual.shots,
                cost_micro_usd=actual.micro_usd,
                note=note,
            )
            if actual:
                reservations.settle(connection, key.token, actual, at_us=at, note=note)
            else:
                reservations.release(connection, key.token, at_us=at, note=note)

    def mark_refused(self, key: JobKey, refusal: Refusal, why: str) -> None:
        """The provider took nothing."""
        self.mark_ended(key, JobPhase.FAILED, Amount(), f"{refusal} {why}")

    def _set(self, connection: Connection, key: JobKey, **values: object) -> None:
        connection.execute(update(jobs).where(jobs.c.token == key.token).values(**values))


def jobs_of(
    database: Database,
    run_id: str | None = None,
    *,
    iteration: int | None = None,
    batch: int | None = None,
    out: bool = False,
) -> list[JobRecord]:
    """Bought jobs, of all runs or one, in order of iteration, batch and attempt.

    Args:
        out: only those that have not ended.
    """
    wanted = [c for c in jobs.c if c.name not in ("calibration_json",)]
    query = select(*wanted).where(jobs.c.quote_micro_usd.is_not(None))
    if run_id is not None:
        query = query.where(jobs.c.run_id == run_id)
    if iteration is not None:
        query = query.where(jobs.c.iteration == iteration)
    if batch is not None:
        query = query.where(jobs.c.batch == batch)
    if out:
        query = query.where(jobs.c.state.not_in(_ENDED))
    query = query.order_by(jobs.c.run_id, jobs.c.iteration, jobs.c.batch, jobs.c.attempt)
    with database.read() as connection:
        rows = connection.execute(query).mappings().all()
    return [_record(dict(row)) for row in rows]


def spent_by_device(database: Database, run_id: str) -> dict[str, Amount]:
    """Shots and money of a run's ended jobs, free ones included, by the device that ran them."""
    query = (
        select(jobs.c.device, func.sum(jobs.c.shots), func.sum(jobs.c.cost_micro_usd))
        .where(jobs.c.run_id == run_id, jobs.c.state.in_(_ENDED))
        .group_by(jobs.c.device)
        .order_by(jobs.c.device)
    )
    with database.read() as connection:
        return {device: Amount(int(shots), int(cost)) for device, shots, cost in connection.execute(query)}


def above_quotes_micro_usd(database: Database, run_id: str) -> int:
    """What a run's ended jobs cost above what was reserved for each."""
    above = case(
        (jobs.c.cost_micro_usd > jobs.c.quote_micro_usd, jobs.c.cost_micro_usd - jobs.c.quote_micro_usd)
    )
    query = select(func.sum(above)).where(jobs.c.run_id == run_id, jobs.c.state.in_(_ENDED))
    with database.read() as connection:
        return int(connection.execute(query).scalar() or 0)


def decisions_of(database: Database, run_id: str) -> list[tuple[int, int, int, str]]:
    """(iteration, batch, attempt, decision as JSON) of a run's routed batches, in order."""
    query = (
        select(decisions.c.iteration, decisions.c.batch, decisions.c.attempt, decisions.c.decision_json)
        .where(decisions.c.run_id == run_id, decisions.c.batch < _CALIBRATIONS)
        .order_by(decisions.c.iteration, decisions.c.batch, decisions.c.attempt)
    )
    with database.read() as connection:
        return [tuple(row) for row in connection.execute(query)]


def treatments_of(database: Database, *, run_id: str | None = None, since_us: int = 0) -> list[str]:
    """How batches were treated, as JSON, newest first: of a run, or of every run since a time."""
    query = select(decisions.c.decision_json).where(
        decisions.c.batch >= _CALIBRATIONS, decisions.c.at_us >= since_us
    )
    if run_id is not None:
        query = query.where(decisions.c.run_id == run_id)
    with database.read() as connection:
        return list(connection.execute(query.order_by(decisions.c.at_us.desc()).limit(1000)).scalars())


def _record(row: dict) -> JobRecord:
    digest, outcome = row.pop("sha256"), row["outcome"]
    intact = outcome is not None and hashlib.sha256(outcome).hexdigest() == digest
    return JobRecord(**{**row, "state": JobPhase(row["state"]), "outcome": outcome if intact else None})
