"""The journal: what every run was asked, did and found. It is the truth; all else hears about it.

One process drives a run at a time. It holds a lease with a fencing token, names the token in every write,
and a write with a stale token is refused in the same statement that would have made it.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, Table, delete, insert, select, update
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from ledger.database import Database
from ledger.tables import checkpoints, drives, iterations, jobs, runs
from shotwise.errors import LeaseLostError, RunBusyError, RunFailedError, SpecError

LEASE_S = 30.0
RUNNING = "running"
_RUN = [column for column in runs.c if column.name != "ansatz_json"]


@dataclass(frozen=True)
class RunRecord:
    """One row of `runs`."""

    run_id: str
    name: str
    kind: str
    state: str
    reason: str | None
    spec_json: str
    problem_sha256: str
    versions_json: str
    created_us: int
    updated_us: int
    active_us: int
    result_json: str | None
    mlflow_run_id: str | None
    fence: int
    holder: str | None
    lease_until_us: int
    parent: str | None


@dataclass(frozen=True)
class IterationRecord:
    """What one iteration found. `parameters` are little-endian float64 bytes; shots and cost are its own."""

    iteration: int
    at_us: int
    energy: float
    energy_std_error: float
    gradient_norm: float | None
    fidelity: float | None
    evaluations: int
    shots: int
    cost_micro_usd: int
    parameters: bytes


@dataclass(frozen=True)
class JobKey:
    """Which piece of work a job is; the same work always has the same token."""

    run_id: str
    iteration: int
    batch: int
    attempt: int = 0

    @property
    def token(self) -> str:
        """Client token, 64 hexadecimal characters."""
        text = f"{self.run_id}/{self.iteration}/{self.batch}/{self.attempt}"
        return hashlib.sha256(text.encode()).hexdigest()


def now_us() -> int:
    """Microseconds since the epoch, UTC."""
    return time.time_ns() // 1000


def enter_run(
    connection: Connection,
    *,
    name: str,
    kind: str,
    spec_json: str,
    problem_sha256: str,
    versions_json: str,
    run_id: str | None = None,
    parent: str | None = None,
) -> str:
    """Enter a new run in a transaction that says more about it; its id."""
    run_id, at = run_id or f"{name}-{secrets.token_hex(4)}", now_us()
    connection.execute(
        insert(runs).values(
            run_id=run_id,
            name=name,
            kind=kind,
            state="created",
            spec_json=spec_json,
            problem_sha256=problem_sha256,
            versions_json=versions_json,
            created_us=at,
            updated_us=at,
            parent=parent,
        )
    )
    return run_id


class Journal:
    """Reads of everything, and the writes that need no lease."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def create_run(
        self,
        *,
        name: str,
        kind: str,
        spec_json: str,
        problem_sha256: str,
        versions_json: str,
        run_id: str | None = None,
        parent: str | None = None,
    ) -> str:
        """Enter a new run and return its id: `run_id` where it must be found again, otherwise a fresh one.

        Args:
            parent: the scan or sweep that it is part of.
        """
        with self.database.write() as connection:
            return enter_run(
                connection,
                name=name,
                kind=kind,
                spec_json=spec_json,
                problem_sha256=problem_sha256,
                versions_json=versions_json,
                run_id=run_id,
                parent=parent,
            )

    def run(self, run_id: str) -> RunRecord:
        """One run.

        Raises:
            SpecError: there is no such run.
        """
        with self.database.read() as connection:
            row = connection.execute(select(*_RUN).where(runs.c.run_id == run_id)).mappings().first()
        if row is None:
            raise SpecError("RUN_ID", run_id, "no such run", "list the runs with `shotwise runs`")
        return RunRecord(**row)

    def all_runs(self) -> list[RunRecord]:
        """Every run, oldest first."""
        with self.database.read() as connection:
            rows = (
                connection.execute(select(*_RUN).order_by(runs.c.created_us, runs.c.run_id)).mappings().all()
            )
        return [RunRecord(**row) for row in rows]

    def ansatz_json(self, run_id: str) -> str | None:
        """The circuit and the parameters that a run ended with, None while it has not."""
        query = select(runs.c.ansatz_json).where(runs.c.run_id == run_id)
        with self.database.read() as connection:
            return connection.execute(query).scalar()

    def iterations(self, run_id: str, *, after: int = -1) -> list[IterationRecord]:
        """A run's iterations later than `after`, in order."""
        query = (
            select(*[c for c in iterations.c if c.name != "run_id"])
            .where(iterations.c.run_id == run_id, iterations.c.iteration > after)
            .order_by(iterations.c.iteration)
        )
        with self.database.read() as connection:
            return [IterationRecord(**row) for row in connection.execute(query).mappings()]

    def run_of_flow(self, flow_run_id: str) -> str | None:
        """The run that a Prefect flow run drove, None if it never got so far."""
        query = select(drives.c.run_id).where(drives.c.prefect_flow_run_id == flow_run_id)
        with self.database.read() as connection:
            return connection.execute(query).scalar()

    def flow_run_ids(self, run_id: str) -> list[str]:
        """Prefect flow runs that drove this run, oldest first."""
        query = select(drives.c.prefect_flow_run_id).where(drives.c.run_id == run_id).order_by(drives.c.fence)
        with self.database.read() as connection:
            return [flow_run_id for (flow_run_id,) in connection.execute(query) if flow_run_id]

    def is_driven(self, run_id: str) -> bool:
        """Whether a process holds the run's lease that is not known to be dead."""
        record = self.run(run_id)
        return _is_held(record.holder, record.lease_until_us)

    def check_free(self, run_id: str) -> None:
        """Raise RunBusyError if a live process drives the run; `acquire` decides again, and for good."""
        record = self.run(run_id)
        _check_free(run_id, record.holder, record.lease_until_us)

    def set_mlflow_run(self, run_id: str, mlflow_run_id: str) -> None:
        """Remember under which id MLflow tracks the run."""
        with self.database.write() as connection:
            connection.execute(
                update(runs).where(runs.c.run_id == run_id).values(mlflow_run_id=mlflow_run_id)
            )

    def acquire(self, run_id: str, *, lease_s: float = LEASE_S) -> Lease:
        """Become the run's driver.

        A lease that has expired, or whose holder is known to be dead on this machine, is taken over.

        Raises:
            RunBusyError: another live process drives the run.
        """
        at = now_us()
        with self.database.write() as connection:
            row = (
                connection.execute(select(runs).where(runs.c.run_id == run_id).with_for_update())
                .mappings()
                .first()
            )
            if row is None:
                raise SpecError("RUN_ID", run_id, "no such run", "list the runs with `shotwise runs`")
            _check_free(run_id, row["holder"], row["lease_until_us"])
            fence = row["fence"] + 1
            connection.execute(
                update(runs)
                .where(runs.c.run_id == run_id)
                .values(
                    fence=fence,
                    holder=_identity(),
                    lease_until_us=at + int(lease_s * 1e6),
                    state=RUNNING,
                    reason=None,
                    updated_us=at,
                )
            )
            connection.execute(insert(drives).values(run_id=run_id, fence=fence, started_us=at))
        return Lease(self.database, run_id, fence, lease_s)


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


def _check_free(run_id: str, holder: str | None, lease_until_us: int) -> None:
    if _is_held(holder, lease_until_us):
        left_s = (lease_until_us - now_us()) / 1e6
        remedy = f"wait for it; if it hangs, its lease ends in {left_s:.0f} s"
        raise RunBusyError("RUN_ID", run_id, "another process drives this run", remedy)


def _is_held(holder: str | None, lease_until_us: int) -> bool:
    return holder is not None and lease_until_us > now_us() and not _is_dead(holder)


def _upsert(connection: Connection, table: Table, rows: Sequence[dict[str, object]], keys: list[str]) -> None:
    """Enter rows of the same columns, replacing those of the same keys."""
    if not rows:
        return
    make = postgresql_insert if connection.dialect.name == "postgresql" else sqlite_insert
    statement = make(table)
    rest = {name: statement.excluded[name] for name in rows[0] if name not in keys}
    connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=rest), rows)


def _identity() -> str:
    """This process, so that another on the same machine can tell whether it is alive: host:boot:pid:start."""
    return f"{socket.gethostname()}:{_boot_id()}:{os.getpid()}:{_start_ticks(os.getpid())}"


def _is_dead(holder: str) -> bool:
    """Whether a holder is certainly gone. One elsewhere, or unreadable, may live: its lease must expire."""
    try:
        host, boot, pid, start = holder.rsplit(":", 3)
        if host != socket.gethostname():
            return False
        return boot != _boot_id() or _start_ticks(int(pid)) != start
    except (ValueError, OSError):
        return False


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "-"


def _start_ticks(pid: int) -> str:
    """Start time of a process in clock ticks since boot; "gone" if there is none, "-" where unknowable."""
    if not Path("/proc/self/stat").exists():
        return "-"
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except FileNotFoundError:
        return "gone"
    return "gone" if fields[0] in ("Z", "X") else fields[19]
