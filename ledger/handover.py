"""A journal and ledger handed over whole to another database: a state folder's own to its team's.

The old one refuses every write before the new one has anything, so nothing is spent that the new one does not
know. It may be killed at any moment and called again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Connection, Table, func, select, text

from ledger.audit import audit
from ledger.database import HANDED_OVER, Database
from ledger.journal import is_held
from ledger.tables import accounts, metadata, runs
from shotwise.errors import RunBusyError, RunFailedError

_PAGE_ROWS = 500


@dataclass(frozen=True)
class Extent:
    """How much a database holds."""

    n_runs: int
    n_accounts: int

    def __bool__(self) -> bool:
        return bool(self.n_runs or self.n_accounts)


def extent(database: Database) -> Extent:
    """How many runs and accounts there are."""
    with database.read() as connection:
        return Extent(_count(connection, runs), _count(connection, accounts))


def check_undriven(database: Database) -> None:
    """Refuse to hand a journal over while a process writes into it.

    Raises:
        RunBusyError: a live process drives one of its runs.
    """
    with database.read() as connection:
        _check_undriven(connection)


def hand_over(old: Database, new: Database) -> bool:
    """Copy everything of `old` (SQLite) into `new` in one transaction; whether `new` has it now.

    It does not where it had something of its own before; then nothing is changed.

    Raises:
        RunBusyError: a live process drives a run of `old`; nothing was changed.
        RunFailedError: the books would not be right; nothing was changed.
    """
    with new.write() as target:
        _lock(target)
        if any(_count(target, table) for table in metadata.sorted_tables):
            return _is_frozen(old) and _includes(old, target)
        _freeze(old)
        try:
            for table in metadata.sorted_tables:
                _copy(old, target, table)
            _check_books(target)
        except BaseException:  # nothing of it is committed
            _thaw(old)
            raise
    return True


def _copy(old: Database, target: Connection, table: Table) -> None:
    """In the order of the key: an account comes after those above it, whose paths its own begins with."""
    with old.read() as source:
        found = source.execution_options(yield_per=_PAGE_ROWS).execute(
            select(table).order_by(*table.primary_key)
        )
        for page in found.mappings().partitions():
            target.execute(table.insert(), [dict(row) for row in page])
    if target.dialect.name == "postgresql":
        _continue_numbers(target, table)


def _continue_numbers(target: Connection, table: Table) -> None:
    """Have the database number new rows after those that were copied with their numbers."""
    column = table.autoincrement_column
    if column is None:
        return
    highest = target.execute(select(func.max(column))).scalar()
    if highest is not None:
        target.execute(select(func.setval(func.pg_get_serial_sequence(table.name, column.name), highest)))


def _check_books(target: Connection) -> None:
    differences = audit(target)
    if differences:
        raise RunFailedError(f"the ledger is not handed over: its books differ: {differences[0]}")


def _includes(old: Database, target: Connection) -> bool:
    """Whether all runs and accounts of `old` are there: it was handed over by a process that then died."""
    with old.read() as source:
        return all(
            set(source.execute(select(*table.primary_key))) <= set(target.execute(select(*table.primary_key)))
            for table in (runs, accounts)
        )


def _lock(target: Connection) -> None:
    """Let nobody else write until the transaction ends, as is so on SQLite."""
    if target.dialect.name == "postgresql":
        names = ", ".join(table.name for table in metadata.sorted_tables)
        target.execute(text(f"LOCK TABLE {names} IN SHARE ROW EXCLUSIVE MODE"))


def _count(connection: Connection, table: Table) -> int:
    return connection.execute(select(func.count()).select_from(table)).scalar_one()


def _check_undriven(connection: Connection) -> None:
    for run_id, holder, until_us in connection.execute(
        select(runs.c.run_id, runs.c.holder, runs.c.lease_until_us)
    ):
        if is_held(holder, until_us):
            remedy = "wait for its end or interrupt it with Ctrl-C, then `shotwise up`"
            raise RunBusyError("RUN_ID", run_id, "a process drives this run, outside of the team", remedy)


def _freeze(old: Database) -> None:
    """Have every write refused from now on, also those of processes that have the file open."""
    with old.write() as connection:
        _check_undriven(connection)
        for name, change, table in _triggers():
            connection.exec_driver_sql(
                f"CREATE TRIGGER IF NOT EXISTS {name} BEFORE {change} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{HANDED_OVER.replace(chr(39), chr(39) * 2)}'); END"
            )


def _thaw(old: Database) -> None:
    with old.write() as connection:
        for name, _, _ in _triggers():
            connection.exec_driver_sql(f"DROP TRIGGER IF EXISTS {name}")


def _is_frozen(old: Database) -> bool:
    names = [name for name, _, _ in _triggers()]
    known = text("SELECT count(*) FROM sqlite_master WHERE type = 'trigger' AND name = :name")
    with old.read() as connection:
        return bool(connection.execute(known, {"name": names[0]}).scalar())


def _triggers() -> Iterator[tuple[str, str, str]]:
    """(name, change, table) of each."""
    for table in metadata.sorted_tables:
        for change in ("INSERT", "UPDATE", "DELETE"):
            yield f"handed_over_{table.name}_{change.lower()}", change, table.name
