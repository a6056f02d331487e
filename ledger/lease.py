"""The right to drive a run, and all writes that need it.

Every write names the lease's fencing token, and one with a stale token is refused in the same statement that
would have made it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from sqlalchemy import Connection, Table, delete, select, update
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from ledger.database import Database
from ledger.records import IterationRecord, JobKey, now_us
from ledger.tables import checkpoints, drives, iterations, jobs, runs
from shotwise.errors import LeaseLostError, RunFailedError


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
            self._fenced(connection)
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
        self, records: Sequence[IterationRecord], *, iteration: int, state: bytes, active_us: int
    ) -> None:
        """End iterations in one transaction: what they found, and the state to go on from.

        Args:
            records: in order; entering one again replaces it.
            iteration: the number of the next iteration; the checkpoint is kept under it.
            state: the checkpoint. The one before is kept too, against a damaged row.
            active_us: how long the run has been driven in all.
        """
        with self.database.write() as connection:
            self._fenced(connection, active_us=active_us)
            keys = ["run_id", "iteration"]
            rows = [{"run_id": self.run_id, **vars(record)} for record in records]
            _upsert(connection, iterations, rows, keys)
            digest = hashlib.sha256(state).hexdigest()
            checkpoint = {"run_id": self.run_id, "iteration": iteration, "state": state, "sha256": digest}
            _upsert(connection, checkpoints, [checkpoint], keys)
            newest = (
                select(checkpoints.c.iteration)
                .where(checkpoints.c.run_id == self.run_id)
                .order_by(checkpoints.c.iteration.desc())
                .limit(2)
            )
            kept = list(connection.execute(newest).scalars())
            connection.execute(
                delete(checkpoints).where(
                    checkpoints.c.run_id == self.run_id, checkpoints.c.iteration.not_in(kept)
                )
            )

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
                if hashlib.sha256(state).hexdigest() != digest:
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

    def outcome(self, key: JobKey) -> bytes | None:
        """The raw outcome of a job that is done and undamaged, else None."""
        query = select(jobs.c.outcome, jobs.c.sha256).where(jobs.c.token == key.token, jobs.c.state == "done")
        with self.database.read() as connection:
            row = connection.execute(query).first()
        return row.outcome if row and hashlib.sha256(row.outcome).hexdigest() == row.sha256 else None

    def record_outcome(
        self,
        key: JobKey,
        *,
        device: str,
        shots: int,
        cost_micro_usd: int,
        outcome: bytes,
        began_us: int | None = None,
    ) -> None:
        """Keep the raw outcome of a job, which began at `began_us` if that is known."""
        at = now_us()
        began_us = at if began_us is None else began_us
        with self.write() as connection:
            values = {
                "token": key.token,
                **vars(key),
                "device": device,
                "state": "done",
                "shots": shots,
                "cost_micro_usd": cost_micro_usd,
                "created_us": began_us,
                "submitted_us": began_us,
                "started_us": began_us,
                "done_us": at,
                "outcome": outcome,
                "sha256": hashlib.sha256(outcome).hexdigest(),
            }
            _upsert(connection, jobs, [values], ["token"])

    def finish(
        self, *, state: str, reason: str | None, result_json: str | None, ansatz_json: str | None = None
    ) -> None:
        """End the drive: the run's state and result, and the lease given back, in one transaction."""
        at = now_us()
        ended = {"state": state, "reason": reason, "result_json": result_json, "ansatz_json": ansatz_json}
        with self.database.write() as connection:
            self._fenced(connection, **ended, holder=None, lease_until_us=0)
            connection.execute(
                update(drives)
                .where(drives.c.run_id == self.run_id, drives.c.fence == self.fence)
                .values(ended_us=at)
            )

    def _fenced(self, connection: Connection, **values: object) -> None:
        """Touch the run's row under our fence, which locks it and renews the lease; refuse if not ours."""
        at = now_us()
        renewed = {"lease_until_us": at + int(self.lease_s * 1e6), "updated_us": at, **values}
        done = connection.execute(
            update(runs).where(runs.c.run_id == self.run_id, runs.c.fence == self.fence).values(**renewed)
        )
        if done.rowcount != 1:
            raise LeaseLostError(f"{self.run_id}: another process took this run over; this one stops")


def _upsert(connection: Connection, table: Table, rows: Sequence[dict[str, object]], keys: list[str]) -> None:
    """Enter rows of the same columns, replacing those of the same keys."""
    if not rows:
        return
    make = postgresql_insert if connection.dialect.name == "postgresql" else sqlite_insert
    statement = make(table)
    rest = {name: statement.excluded[name] for name in rows[0] if name not in keys}
    connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=rest), rows)
