"""Runs that a team's workers drive: who asked for them, which of them nobody drives, and which shall end.

A submission is entered in the transaction that enters its run. From then on the run is the team's to finish:
a keeper looks for those that nobody drives, and has a worker go on.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, func, insert, or_, select, true

from ledger.database import Database
from ledger.journal import enter_run
from ledger.records import NewRun, RunState, now_us
from ledger.tables import cancellations, drives, iterations, runs, submissions

_UNFINISHED = [state for state in RunState if not state.has_ended]


@dataclass(frozen=True)
class Submission:
    """A run that was handed to the team.

    Attributes:
        deployment: which drives it, as "flow/deployment".
        queue: in which it waits.
        flow_run_id: the Prefect flow run that asked for it, None where a person did.
        cancelled: whether it shall end.
        idle_drives: drives since its last iteration that never ended; a run that kills its workers has many.
    """

    run_id: str
    deployment: str
    queue: str
    submitted_us: int
    flow_run_id: str | None
    state: RunState
    cancelled: bool
    idle_drives: int


class Submissions:
    """The team's runs in the journal."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def enter(self, new: NewRun, *, deployment: str, queue: str, flow_run_id: str | None = None) -> str:
        """Enter a run and its submission together; the run's id.

        A flow run that asked before is answered with the run that it then got.
        """
        with self.database.write() as connection:
            if flow_run_id is not None and (known := _of_flow_run(connection, flow_run_id)):
                return known
            run_id = enter_run(connection, new)
            connection.execute(
                insert(submissions).values(
                    run_id=run_id,
                    deployment=deployment,
                    queue=queue,
                    submitted_us=now_us(),
                    flow_run_id=flow_run_id,
                )
            )
        return run_id

    def of_flow_run(self, flow_run_id: str) -> str | None:
        """The run that a flow run asked for, None if it never got so far."""
        with self.database.read() as connection:
            return _of_flow_run(connection, flow_run_id)

    def find(self, run_id: str) -> Submission | None:
        """A run's submission, None where a person drives it."""
        return next(iter(self._select(submissions.c.run_id == run_id)), None)

    def all(self) -> list[Submission]:
        """Every run that was ever handed over, oldest first."""
        return self._select(true())

    def unfinished(self) -> list[Submission]:
        """Every run that is still the team's to finish, oldest first."""
        return self._select(runs.c.state.in_(_UNFINISHED))

    def ask_to_cancel(self, run_id: str) -> None:
        """Say that a run shall end. Its driver obeys within seconds; else whoever acquires it next."""
        with self.database.write() as connection:
            known = select(cancellations.c.run_id).where(cancellations.c.run_id == run_id)
            if connection.execute(known).first() is None:
                connection.execute(insert(cancellations).values(run_id=run_id, asked_us=now_us()))

    def is_cancelled(self, run_id: str) -> bool:
        """Whether a run shall end, or the run that it is a part of."""
        parent = select(runs.c.parent).where(runs.c.run_id == run_id).scalar_subquery()
        query = select(cancellations.c.run_id).where(cancellations.c.run_id.in_([run_id, parent]))
        with self.database.read() as connection:
            return connection.execute(query).first() is not None

    def _select(self, condition) -> list[Submission]:
        last = (
            select(func.max(iterations.c.at_us)).where(iterations.c.run_id == runs.c.run_id).scalar_subquery()
        )
        idle = (
            select(func.count())
            .where(
                drives.c.run_id == runs.c.run_id,
                drives.c.ended_us.is_(None),  # one that ended in order is no sign of a run that kills
                or_(last.is_(None), drives.c.started_us > last),
            )
            .scalar_subquery()
        )
        query = (
            select(
                submissions,
                runs.c.state,
                cancellations.c.run_id.is_not(None).label("cancelled"),
                idle.label("idle_drives"),
            )
            .join(runs, runs.c.run_id == submissions.c.run_id)
            .outerjoin(cancellations, cancellations.c.run_id == submissions.c.run_id)
            .where(condition)
            .order_by(submissions.c.submitted_us, submissions.c.run_id)
        )
        with self.database.read() as connection:
            rows = connection.execute(query).mappings().all()
        return [
            Submission(**{**row, "state": RunState(row["state"]), "cancelled": bool(row["cancelled"])})
            for row in rows
        ]


def _of_flow_run(connection: Connection, flow_run_id: str) -> str | None:
    query = select(submissions.c.run_id).where(submissions.c.flow_run_id == flow_run_id)
    return connection.execute(query).scalar()
