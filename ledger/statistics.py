"""The journal as telemetry reads it: when things happened and what they took, for many runs at once."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, Select, func, insert, select

from ledger.database import Database
from ledger.records import JobPhase, now_us
from ledger.rules import RESERVE_STEP
from ledger.tables import decisions, drives, entries, iterations, jobs, reconciliations

_RUNS_A_QUERY = 500


@dataclass(frozen=True)
class JobStatistics:
    """One job, bought or free. Times in microseconds since the epoch.

    Attributes:
        shots_promised: shots asked for; of an ended job `shots` are those that came.
        paid: whether it was bought.
        submitted_us: when the provider took it, None where it never did.
        started_us: when it was first seen running, None where it was too short to be seen so.
        done_us: when it ended in any way, None while it is open.
    """

    token: str
    run_id: str
    iteration: int
    batch: int
    attempt: int
    device: str
    state: JobPhase
    shots: int
    shots_promised: int
    cost_micro_usd: int
    paid: bool
    created_us: int
    submitted_us: int | None
    started_us: int | None
    done_us: int | None

    @property
    def partial(self) -> bool:
        """Done with fewer shots than asked for."""
        return self.state is JobPhase.DONE and self.shots < self.shots_promised

    @property
    def queue_s(self) -> float | None:
        """From submission to start; at most this where the start was not seen. None while it has not."""
        started_us = self.started_us or self.done_us
        if self.submitted_us is None or started_us is None:
            return None
        return max(started_us - self.submitted_us, 0) / 1e6

    @property
    def busy_s(self) -> float:
        """From start to end; 0 where the start was not seen."""
        if self.started_us is None or self.done_us is None:
            return 0.0
        return max(self.done_us - self.started_us, 0) / 1e6


@dataclass(frozen=True)
class DriveStatistics:
    """One process's drive of a run."""

    run_id: str
    fence: int
    started_us: int
    ended_us: int | None


def job_statistics(
    database: Database, run_ids: Sequence[str], *, from_iteration: int = 0
) -> list[JobStatistics]:
    """Every job of the runs from an iteration on, in order of creation."""
    reserved = (
        select(entries.c.shots)
        .where(entries.c.token == jobs.c.token, entries.c.step == RESERVE_STEP)
        .scalar_subquery()
    )
    query = select(
        jobs.c.token,
        jobs.c.run_id,
        jobs.c.iteration,
        jobs.c.batch,
        jobs.c.attempt,
        jobs.c.device,
        jobs.c.state,
        jobs.c.shots,
        func.coalesce(reserved, jobs.c.shots).label("shots_promised"),
        jobs.c.cost_micro_usd,
        jobs.c.quote_micro_usd.is_not(None).label("paid"),
        jobs.c.created_us,
        jobs.c.submitted_us,
        jobs.c.started_us,
        jobs.c.done_us,
    )
    query = query.where(jobs.c.iteration >= from_iteration).order_by(jobs.c.created_us, jobs.c.token)
    return [
        JobStatistics(**{**row, "state": JobPhase(row["state"]), "paid": bool(row["paid"])})
        for row in _of_runs(database, query, jobs.c.run_id, run_ids)
    ]


def drive_statistics(database: Database, run_ids: Sequence[str]) -> list[DriveStatistics]:
    """Every drive of the runs, in order."""
    query = select(drives.c.run_id, drives.c.fence, drives.c.started_us, drives.c.ended_us)
    return [
        DriveStatistics(**row)
        for row in _of_runs(
            database, query.order_by(drives.c.run_id, drives.c.fence), drives.c.run_id, run_ids
        )
    ]


def iteration_times_us(database: Database, run_ids: Sequence[str]) -> dict[str, list[int]]:
    """When each iteration of the runs ended, in order."""
    query = select(iterations.c.run_id, iterations.c.at_us).order_by(
        iterations.c.run_id, iterations.c.iteration
    )
    times: dict[str, list[int]] = {run_id: [] for run_id in run_ids}
    for row in _of_runs(database, query, iterations.c.run_id, run_ids):
        times[row["run_id"]].append(row["at_us"])
    return times


def decisions_took_us(database: Database, run_ids: Sequence[str]) -> list[tuple[str, int]]:
    """(run id, microseconds) of every decision whose duration was entered."""
    query = select(decisions.c.run_id, decisions.c.took_us).where(decisions.c.took_us.is_not(None))
    return [(row["run_id"], row["took_us"]) for row in _of_runs(database, query, decisions.c.run_id, run_ids)]


def calibrations_taken_us(database: Database) -> dict[str, int]:
    """When the calibration was taken that each device's latest bought job ran under."""
    latest = (
        select(jobs.c.device, func.max(jobs.c.created_us).label("at_us"))
        .where(jobs.c.calibration_json.is_not(None))
        .group_by(jobs.c.device)
        .subquery()
    )
    query = select(jobs.c.device, jobs.c.calibration_json).join(
        latest, (latest.c.device == jobs.c.device) & (latest.c.at_us == jobs.c.created_us)
    )
    with database.read() as connection:
        return {device: int(json.loads(text)["taken_us"]) for device, text in connection.execute(query)}


def record_reconciliation(database: Database, differences: Mapping[str, int]) -> None:
    """Enter what a reconciliation found: how many differences of each kind."""
    with database.write() as connection:
        connection.execute(
            insert(reconciliations).values(at_us=now_us(), differences_json=json.dumps(dict(differences)))
        )


def latest_reconciliation(database: Database) -> tuple[int, dict[str, int]] | None:
    """(time, differences by kind) of the latest reconciliation, None where there was none."""
    query = select(reconciliations).order_by(reconciliations.c.at_us.desc()).limit(1)
    with database.read() as connection:
        row = connection.execute(query).first()
    return None if row is None else (row.at_us, json.loads(row.differences_json))


def _of_runs(
    database: Database, query: Select, column: Column, run_ids: Sequence[str]
) -> Iterator[dict[str, Any]]:
    with database.read() as connection:
        for start in range(0, len(run_ids), _RUNS_A_QUERY):
            some = query.where(column.in_(run_ids[start : start + _RUNS_A_QUERY]))
            for row in connection.execute(some).mappings():
                yield dict(row)
