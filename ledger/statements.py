"""Statements that go to the driver as they are.

SQLAlchemy's own way costs four times as much as the server's answer, and every paid job waits for these few.
Errors come as SQLAlchemy's all the same, so that callers need to know one kind.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Dialect, PoolProxiedConnection
from sqlalchemy.engine.interfaces import DBAPICursor
from sqlalchemy.exc import DBAPIError, InvalidRequestError

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
        """Run as a transaction of its own; the first row, None where there is none."""
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
            yield cursor, text
        except dialect.loaded_dbapi.Error as error:
            if dialect.is_disconnect(error, connection, cursor):
                connection.invalidate(error)
            raise DBAPIError.instance(
                text, None, error, dialect.loaded_dbapi.Error, dialect=dialect
            ) from error
        finally:
            cursor.close()


def _opened(connection: Connection) -> tuple[Dialect, PoolProxiedConnection]:
    if not connection.in_transaction():
        raise InvalidRequestError("the ledger works in an open transaction; begin one first")
    return connection.dialect, connection.connection


@dataclass(frozen=True, eq=False)
class Driver:
    """The driver's own connection, from the pool and without SQLAlchemy's transactions around it."""

    dialect: Dialect
    connection: PoolProxiedConnection
