"""The journal: what every run was asked, did and found. It is the truth; all else hears about it.

One process drives a run at a time; see `ledger.lease`.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, Select, insert, select, true, update

from ledger.database import Database
from ledger.holders import Holder
from ledger.lease import Lease
from ledger.records import IterationRecord, NewRun, RunRecord, RunState, now_us
from ledger.tables import checkpoints, drives, iterations, runs
from shotwise.errors import RunBusyError, RunEndedError, SpecError
from shotwise.words import duration

LEASE_S = 30.0
_LEFT_US_MAX = 600_000_000
"""A lease that ends later was written by a clock far ahead; should its writer live, its fence is stale."""
_RUN = [column for column in runs.c if column.name != "ansatz_json"]


def enter_run(
    connection: Connection, new: NewRun, *, run_id: str | None = None, parent: str | None = None
) -> str:
    """Enter a new run in a transaction that says more about it; its id."""
    run_id, at = run_id or f"{new.name}-{secrets.token_hex(4)}", now_us()
    row = {**vars(new), "run_id": run_id, "state": RunState.CREATED, "created_us": at, "updated_us": at}
    connection.execute(insert(runs).values(**row, parent=parent))
    return run_id


class Journal:
    """Reads of everything, and the writes that need no lease."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def create_run(self, new: NewRun, *, run_id: str | None = None, parent: str | None = None) -> str:
        """Enter a new run and return its id: `run_id` where it must be found again, otherwise a fresh one.

        Args:
            parent: the scan or sweep that it is part of.
        """
        with self.database.write() as connection:
            return enter_run(connection, new, run_id=run_id, parent=parent)

    def run(self, run_id: str) -> RunRecord:
        """One run.

        Raises:
            SpecError: there is no such run.
        """
        with self.database.read() as connection:
            row = connection.execute(select(*_RUN).where(runs.c.run_id == run_id)).mappings().first()
        if row is None:
            raise SpecError("RUN_ID", run_id, "no such run", "list the runs with `shotwise runs`")
        return _run_of(row)

    def all_runs(self) -> list[RunRecord]:
        """Every run, oldest first."""
        return self._runs(true())

    def ansatz_json(self, run_id: str) -> str | None:
        """The circuit and the parameters that a run ended with, None while it has not."""
        query = select(runs.c.ansatz_json).where(runs.c.run_id == run_id)
        with self.database.read() as connection:
            return connection.execute(query).scalar()

    def children(self, run_id: str) -> list[RunRecord]:
        """The runs that are part of this one: a scan's points, in order."""
        return self._runs(runs.c.parent == run_id)

    def _runs(self, condition: ColumnElement[bool]) -> list[RunRecord]:
        query = select(*_RUN).where(condition).order_by(runs.c.created_us, runs.c.run_id)
        with self.database.read() as connection:
            return [_run_of(row) for row in connection.execute(query).mappings()]

    def iterations(self, run_id: str, *, after: int = -1) -> list[IterationRecord]:
        """A run's iterations later than `after`, in order."""
        query = _iterations_of(run_id).where(iterations.c.iteration > after).order_by(iterations.c.iteration)
        with self.database.read() as connection:
            return [IterationRecord(**row) for row in connection.execute(query).mappings()]

    def last_iteration(self, run_id: str) -> IterationRecord | None:
        """A run's newest iteration."""
        query = _iterations_of(run_id).order_by(iterations.c.iteration.desc()).limit(1)
        with self.database.read() as connection:
            row = connection.execute(query).mappings().first()
        return None if row is None else IterationRecord(**row)

    def checkpoint(self, run_id: str) -> bytes | None:
        """A run's latest undamaged checkpoint, None where there is none."""
        query = select(checkpoints.c.state, checkpoints.c.sha256).where(checkpoints.c.run_id == run_id)
        query = query.order_by(checkpoints.c.iteration.desc())
        with self.database.read() as connection:
            rows = connection.execute(query).all()
        undamaged = (row.state for row in rows if hashlib.sha256(row.state).hexdigest() == row.sha256)
        return next(undamaged, None)

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

    def ended_drives(self, run_id: str) -> dict[str, int]:
        """When each Prefect flow run that gave this run back in order did so, microseconds since the epoch.

        One whose process died while it drove is not among them.
        """
        columns = drives.c.prefect_flow_run_id, drives.c.ended_us
        query = select(*columns).where(drives.c.run_id == run_id).order_by(drives.c.fence)
        with self.database.read() as connection:
            last = {row.prefect_flow_run_id: row.ended_us for row in connection.execute(query)}
        return {each: ended_us for each, ended_us in last.items() if each and ended_us is not None}

    def is_driven(self, run_id: str) -> bool:
        """Whether a process holds the run's lease that is not known to be dead."""
        record = self.run(run_id)
        return is_held(record.holder, record.lease_until_us)

    def effective_state(self, record: RunRecord) -> str:
        """The run's state; `lost` where it is running and no living process drives it."""
        held = is_held(record.holder, record.lease_until_us)
        return record.state if held or record.state is not RunState.RUNNING else "lost"

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

    def acquire(self, run_id: str, *, lease_s: float = LEASE_S, ended: bool = False) -> Lease:
        """Become the run's driver.

        A lease that has expired, or whose holder is known to be dead on this machine, is taken over.

        Args:
            ended: also of a run that has ended, which stays what it is: to end what it left.

        Raises:
            RunBusyError: another live process drives the run.
            RunEndedError: it has a result, or was cancelled; a failed run can be driven on.
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
            final = RunState(row["state"]).is_final
            if final and not ended:
                raise RunEndedError("RUN_ID", run_id, f"is {row['state']}", "see it with `shotwise show`")
            fence = row["fence"] + 1
            connection.execute(
                update(runs)
                .where(runs.c.run_id == run_id)
                .values(
                    fence=fence,
                    holder=str(Holder.of_this_process()),
                    lease_until_us=at + int(lease_s * 1e6),
                    **({} if final else {"state": RunState.RUNNING, "reason": None}),
                    updated_us=at,
                )
            )
            connection.execute(insert(drives).values(run_id=run_id, fence=fence, started_us=at))
        return Lease(self.database, run_id, fence, lease_s)


def _check_free(run_id: str, holder: str | None, lease_until_us: int) -> None:
    if is_held(holder, lease_until_us):
        left_s = (lease_until_us - now_us()) / 1e6
        remedy = f"wait for it; if it hangs, its lease ends in {duration(left_s)}"
        raise RunBusyError("RUN_ID", run_id, "another process drives this run", remedy)


def is_held(holder: str | None, lease_until_us: int) -> bool:
    """Whether a lease is somebody's who is not known to be dead."""
    left_us, known = lease_until_us - now_us(), Holder.parse(holder)
    gone = known is not None and known.is_dead  # what cannot be read may live
    return holder is not None and 0 < left_us < _LEFT_US_MAX and not gone


def _run_of(row: RowMapping) -> RunRecord:
    return RunRecord(**{**row, "state": RunState(row["state"])})


def _iterations_of(run_id: str) -> Select[Any]:
    return select(*[c for c in iterations.c if c.name != "run_id"]).where(iterations.c.run_id == run_id)
