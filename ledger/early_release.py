"""Transactions that let go of their locks before the disk has answered, and still answer only after it.

Everyone in a tenant needs its row. On PostgreSQL a commit keeps its row locks while it waits for the disk,
so one tenant could commit only as often as the disk flushes, one transaction each. Here a transaction commits
without waiting (its locks go, its record is in the log), and the caller then waits for the log to be flushed
up to there, together with all others who wait. What was committed in between on top of it stands later in the
same log: it cannot survive a crash that this did not. SQLite has one writer and nothing to gain.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, InvalidRequestError

from ledger.database import Database
from ledger.statements import Statement

_BEGIN = Statement("BEGIN; SET LOCAL synchronous_commit = off")
# then a record of our own in the log, whose commit waits until the log is on disk up to it
_COMMIT_AND_FLUSH = Statement("COMMIT; SELECT pg_logical_emit_message(true, 'shotwise', '')")
_ROLLBACK = Statement("ROLLBACK")
# the server answers the COMMIT of a failed transaction with a silent rollback
_IN_ERROR = 3  # psycopg.pq.TransactionStatus.INERROR


@contextmanager
def write(database: Database) -> Iterator[Connection]:
    """`Database.write` for transactions that lock a tenant's row: as durable at the end of the block."""
    if database.engine.dialect.name != "postgresql":
        with database.write() as connection:
            yield connection
        return
    with database.translate_errors(), _autocommit(database) as connection:
        # said by us, not by the driver: one message to the server for two statements
        _BEGIN.first(connection)
        try:
            yield connection
            driver = connection.connection.driver_connection
            if driver is None or driver.info.transaction_status == _IN_ERROR:
                raise InvalidRequestError("a statement failed in this transaction: nothing of it is kept")
            _COMMIT_AND_FLUSH.first(connection)
        except BaseException:
            with suppress(DBAPIError):  # a lost connection has rolled back already
                _ROLLBACK.first(connection)
            raise


@contextmanager
def _autocommit(database: Database) -> Iterator[Connection]:
    with database.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT")
        with connection.begin():
            yield connection
