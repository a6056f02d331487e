"""Statements that go to the driver as they are.

SQLAlchemy's own way costs four times as much as the server's answer, and every paid job waits for these few.
Errors come as SQLAlchemy's all the same, so that callers need to know one kind.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Dialect, PoolProxiedConnection
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
        if not connection.in_transaction():
            raise InvalidRequestError("the ledger works in an open transaction; begin one first")
        return self._first(connection.dialect, connection.connection, values)

    def alone(self, driver: Driver, values: Mapping[str, object] | None = None) -> Sequence[Any] | None:
        """Run as a transaction of its own; the first row, None where there is none."""
        return self._first(driver.dialect, driver.connection, values)

    def _first(
        self, dialect: Dialect, connection: PoolProxiedConnection, values: Mapping[str, object] | None
    ) -> Sequence[Any] | None:
        text = self._text[dialect.name]
        cursor = connection.cursor()
        try:
            # without parameters PostgreSQL takes several statements in one message
            cursor.execute(text, values) if values else cursor.execute(text)
            return cursor.fetchone() if cursor.description else None
        except dialect.loaded_dbapi.Error as error:
            if dialect.is_disconnect(error, connection, cursor):
                connection.invalidate(error)
            raise DBAPIError.instance(
                text, None, error, dialect.loaded_dbapi.Error, dialect=dialect
            ) from error
        finally:
            cursor.close()


@dataclass(frozen=True, eq=False)
class Driver:
    """The driver's own connection, from the pool and without SQLAlchemy's transactions around it."""

    dialect: Dialect
    connection: PoolProxiedConnection
