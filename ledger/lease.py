"""The right to drive a run, and all writes that need it.

Every write names the lease's fencing token, and one with a stale token is refused in the same statement that
would have made it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, delete, select, update

from ledger.database import Database
from ledger.records import FreeJob, IterationRecord, JobPhase, RunState, now_us
from ledger.statements import Statement
from ledger.tables import checkpoints, drives, iterations, runs
from shotwise.errors import LeaseLostError, RunFailedError


def _upsert(table: str, columns: str, key: str) -> Statement:
    """Enter a row, or replace the one of the same key."""
    names = columns.split()
    taken = ", ".join(f"{name} = excluded.{name}" for name in names if name not in key.split(", "))
    values = ", ".join(f":{name}" for name in names)
    into = f"INSERT INTO {table} ({', '.join(names)}) VALUES ({values})"
    return Statement(f"{into} ON CONFLICT ({key}) DO UPDATE SET {taken}")


# What every iteration waits for.
_TOUCH = Statement("""UPDATE runs SET lease_until_us = :until_us, updated_us = :at_us
    WHERE run_id = :run_id AND fence = :fence RETURNING fence""")
_ACTIVE = Statement("UPDATE runs SET active_us = :active_us WHERE run_id = :run_id")
_ITERATION = _upsert(
    "iterations",
    "run_id iteration at_us energy energy_std_error gradient_norm fidelity evaluations shots cost_micro_usd"
    " parameters",
    "run_id, iteration",
)
_CHECKPOINT = _upsert("checkpoints", "run_id iteration state sha256", "run_id, iteration")
_FORGET = Statement("""DELETE FROM checkpoints WHERE run_id = :run_id AND iteration NOT IN
    (SELECT iteration FROM checkpoints WHERE run_id = :run_id ORDER BY iteration DESC LIMIT 2)""")
_JOB = _upsert(
    "jobs",
    "token run_id iteration batch attempt device state shots cost_micro_usd created_us submitted_us"
    " started_us done_us outcome sha256",
    "token",
)


class Lease:
    """The right to drive one run; every write names its fence."""

    def __init__(self, database: Database, run_id: str, fence: int, lease_s: float) -> None:
        self.database, self.run_id, self.fence, self.lease_s = database, run_id, fence, lease_s

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that names our fence before anything else is written in it.

        Raises:
            LeaseLostError: another driver took over; nothing was written.
        """
        with self.database.write() as connection:
            at = now_us()
            until_us = at + int(self.lease_s * 1e6)
            ours = {"run_id": self.run_id, "fence": self.fence, "at_us": at, "until_us": until_us}
            if _TOUCH.first(connection, ours) is None:
                raise LeaseLostError(f"{self.run_id}: another process took this run over; this one stops")
            yield connection

    def renew(self) -> None:
        """Hold the lease for another `lease_s` seconds.

        Raises:
            LeaseLostError: another driver took over.
        """
        with self.write():
            pass

    def record_flow_run(self, flow_run_id: str) -> None:
        """Say which Prefect flow run drives."""
        with self.write() as connection:
            connection.execute(
                update(drives)
                .where(drives.c.run_id == self.run_id, drives.c.fence == self.fence)
                .values(prefect_flow_run_id=flow_run_id)
            )

    def commit(
        self,
        records: Sequence[IterationRecord],
        *,
        iteration: int,
        state: bytes,
        active_us: int,
        jobs: Sequence[FreeJob] = (),
    ) -> None:
        """End iterations in one transaction: what they found, and the state to go on from.

        Args:
            records: in order; entering one again replaces it.
            iteration: the number of the next iteration; the checkpoint is kept under it.
            state: the checkpoint. The one before is kept too, against a damaged row.
            active_us: how long the run has been driven in all.
            jobs: what they measured, where that cost nothing.
        """
        run = {"run_id": self.run_id}
        checkpoint = {**run, "iteration": iteration, "state": state, "sha256": _digest(state)}
        with self.write() as connection:
            _JOB.many(connection, [_done(job) for job in jobs])
            _ACTIVE.first(connection, {**run, "active_us": active_us})
            _ITERATION.many(connection, [{**run, **vars(record)} for record in records])
            _CHECKPOINT.first(connection, checkpoint)
            _FORGET.first(connection, run)

    def restore(self) -> tuple[int, bytes, int] | None:
        """The latest undamaged checkpoint: (next iteration, state, active_us); None for a new run.

        What was entered after that checkpoint is dropped: those iterations will be done again, with the same
        result, from the jobs that are kept.

        Raises:
            RunFailedError: there are checkpoints, and all are damaged.
        """
        with self.write() as connection:
            rows = connection.execute(
                select(checkpoints.c.iteration, checkpoints.c.state, checkpoints.c.sha256)
                .where(checkpoints.c.run_id == self.run_id)
                .order_by(checkpoints.c.iteration.desc())
            ).all()
            active_us = connection.execute(
                select(runs.c.active_us).where(runs.c.run_id == self.run_id)
            ).scalar_one()
            for iteration, state, digest in rows:
                if _digest(state) != digest:
                    continue
                for table in (iterations, checkpoints):
                    later = (
                        table.c.iteration >= iteration
                        if table is iterations
                        else table.c.iteration > iteration
                    )
                    connection.execute(delete(table).where(table.c.run_id == self.run_id, later))
                return iteration, state, active_us
        if rows:
            raise RunFailedError(
                f"{self.run_id}: every checkpoint is damaged; restore the database from a backup"
            )
        return None

    def record(self, job: FreeJob) -> None:
        """Enter what a device that costs nothing measured; entering it again replaces it."""
        with self.write() as connection:
            _JOB.first(connection, _done(job))

    def finish(
        self, *, state: RunState, reason: str | None, result_json: str | None, ansatz_json: str | None = None
    ) -> None:
        """End the drive: the run's state and result, and the lease given back, in one transaction."""
        self._end(state=state, reason=reason, result_json=result_json, ansatz_json=ansatz_json)

    def release(self) -> None:
        """End the drive of a run that stays what it is."""
        self._end()

    def _end(self, **changes: str | None) -> None:
        at = now_us()
        with self.write() as connection:
            given_back = update(runs).where(runs.c.run_id == self.run_id)
            connection.execute(given_back.values(**changes, holder=None, lease_until_us=0))
            drive = update(drives).where(drives.c.run_id == self.run_id, drives.c.fence == self.fence)
            connection.execute(drive.values(ended_us=at))


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _done(job: FreeJob) -> dict[str, Any]:
    """The row of a job that was never out: it began, and is done now."""
    times = dict.fromkeys(("created_us", "submitted_us", "started_us"), job.began_us) | {"done_us": now_us()}
    row = vars(job.key) | {"token": job.key.token, "device": job.device, "shots": job.shots} | times
    result = {"outcome": job.outcome, "sha256": _digest(job.outcome)}
    return row | result | {"state": JobPhase.DONE.value, "cost_micro_usd": 0}
