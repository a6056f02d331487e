"""Statements that go to the driver as they are.

SQLAlchemy's own way costs four times as much as the server's answer, and every paid job waits for these few.
The driver's cursor costs five times as much as libpq, so that a `Procedure` of PostgreSQL goes past that too.
Errors come as SQLAlchemy's all the same, so that callers need to know one kind.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import Connection, Dialect, PoolProxiedConnection
from sqlalchemy.engine.interfaces import DBAPICursor
from sqlalchemy.exc import DBAPIError, InvalidRequestError

if TYPE_CHECKING:
    from psycopg.pq.abc import PGconn, PGresult

_COMMAND_OK, _TUPLES_OK = 1, 2
"""Of libpq's statuses of an answer, those of success."""
_NOT_PREPARED = "26000"
"""SQLSTATE of a prepared statement that does not exist."""
_NAME = re.compile(r"(?<!:):(\w+)")


class Statement:
    """A statement with ``:name`` parameters, for either database."""

    def __init__(self, text: str) -> None:
        self._text = {"sqlite": text, "postgresql": _NAME.sub(r"%(\1)s", text)}

    def first(
        self, connection: Connection, values: Mapping[str, object] | None = None
    ) -> Sequence[Any] | None:
        """Run in the connection's open transaction; the first row, None where there is none."""
        return self._first(*_opened(connection), values)

    def many(self, connection: Connection, rows: Sequence[Mapping[str, object]]) -> None:
        """Run in the connection's open transaction, once for each of the rows."""
        dialect, driver = _opened(connection)
        if rows:
            with self._cursor(dialect, driver) as (cursor, text):
                cursor.executemany(text, rows)

    def autocommit(self, driver: Driver, values: Mapping[str, object] | None = None) -> Sequence[Any] | None:
        """Run on SQLite, outside or within a transaction that we began; the first row, if there is one."""
        return self._first(driver.dialect, driver.connection, values)

    def _first(
        self, dialect: Dialect, connection: PoolProxiedConnection, values: Mapping[str, object] | None
    ) -> Sequence[Any] | None:
        with self._cursor(dialect, connection) as (cursor, text):
            # without parameters PostgreSQL takes several statements in one message
            cursor.execute(text, values) if values else cursor.execute(text)
            return cursor.fetchone() if cursor.description else None

    @contextmanager
    def _cursor(
        self, dialect: Dialect, connection: PoolProxiedConnection
    ) -> Iterator[tuple[DBAPICursor, str]]:
        """A cursor and the statement for it; errors of the driver become SQLAlchemy's."""
        text = self._text[dialect.name]
        cursor = connection.cursor()
        try:
            with _translated(dialect, connection, text):
                yield cursor, text
        finally:
            cursor.close()


class Procedure:
    """A CALL of PostgreSQL, prepared once a connection; a transaction of its own."""

    def __init__(self, name: str, arguments: str) -> None:
        """With parameters $1, $2, ... in the arguments."""
        self._name = f"shotwise_{name}".encode()
        self._text = f"CALL {name}({arguments})"

    def call(self, driver: Driver, values: Sequence[str | int]) -> list[str | None]:
        """The procedure's answer, each of its parts as PostgreSQL writes it.

        It waits without looking at signals: for what holds a row for a moment, not for minutes.
        """
        libpq = cast(Any, driver.connection.driver_connection).pgconn
        sent = [str(value).encode() for value in values]
        answer = libpq.exec_prepared(self._name, sent)
        if answer.status != _TUPLES_OK:
            # not prepared yet, or forgotten: the driver has the server forget all after some rollbacks
            with _translated(driver.dialect, driver.connection, self._text):
                _check(libpq, answer, but=_NOT_PREPARED)
                _check(libpq, libpq.prepare(self._name, self._text.encode()))
                answer = libpq.exec_prepared(self._name, sent)
                _check(libpq, answer)
        parts = [answer.get_value(0, at) for at in range(answer.nfields)]
        return [None if part is None else part.decode() for part in parts]


def _check(libpq: PGconn, answer: PGresult, *, but: str | None = None) -> None:
    """Raise the driver's error for an answer that is none, unless it has this SQLSTATE."""
    from psycopg import OperationalError, pq
    from psycopg.errors import error_from_result

    if libpq.status == pq.ConnStatus.BAD:
        raise OperationalError("the connection to the server was lost")
    error = error_from_result(answer)
    if answer.status not in (_COMMAND_OK, _TUPLES_OK) and (but is None or error.sqlstate != but):
        raise error


@contextmanager
def _translated(dialect: Dialect, connection: PoolProxiedConnection, text: str) -> Iterator[None]:
    """The driver's errors as SQLAlchemy's; a connection that is lost is not used again."""
    errors = dialect.loaded_dbapi.Error
    try:
        yield
    except errors as error:
        if dialect.is_disconnect(error, connection, None):
            connection.invalidate(error)
        raise DBAPIError.instance(text, None, error, errors, dialect=dialect) from error


def _opened(connection: Connection) -> tuple[Dialect, PoolProxiedConnection]:
    if not connection.in_transaction():
        raise InvalidRequestError("the ledger works in an open transaction; begin one first")
    return connection.dialect, connection.connection


@dataclass(frozen=True, eq=False)
class Driver:
    """The driver's own connection, from the pool and without SQLAlchemy's transactions around it."""

    dialect: Dialect
    connection: PoolProxiedConnection
