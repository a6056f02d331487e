"""One database for everything that must not be lost: SQLite by default, PostgreSQL for a team.

Every transaction that writes begins as a write (BEGIN IMMEDIATE on SQLite), so none fails half-way for a
lock that another took in between; every commit is on disk before it returns (synchronous=FULL).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool, QueuePool

from shotwise.errors import CannotRunError

SCHEMA_VERSION = "0006"
_BUSY_TIMEOUT_S = 30
# A server that is restarted is back sooner; one that is not is somebody's to look at.
_AWAY_S_MAX = 120.0
_LOOK_AGAIN_S = 0.2


class Database:
    """Transactions on the journal's database, its schema brought up to date at the first opening.

    A server that goes away later is waited for before a transaction begins. One that goes away within a
    transaction fails it with OperationalError; what was committed is then for the caller to read.
    """

    def __init__(self, url: str) -> None:
        self.engine = _make_engine(url)
        self._away_s_max = 0.0
        try:
            self._migrate()
            self._away_s_max = _AWAY_S_MAX
        except OperationalError as error:
            reason = str(error.orig).splitlines()[0]
            raise CannotRunError(
                "DATABASE_URL",
                _without_password(self.engine),
                reason,
                "check that it is reachable and writable",
            ) from None

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that may write: committed at the end, rolled back on an exception."""
        with self.connect(writes=True) as connection, connection.begin():
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that sees one consistent state and writes nothing."""
        with self.connect() as connection, connection.begin():
            yield connection

    def connect(self, **options: Any) -> Connection:
        """A connection that works now, with execution options. Raises OperationalError."""
        give_up = time.monotonic() + self._away_s_max
        while True:
            try:
                return self.engine.execution_options(**options).connect()
            except OperationalError:
                if time.monotonic() > give_up:
                    raise
            time.sleep(_LOOK_AGAIN_S)

    def close(self) -> None:
        self.engine.dispose()

    def _migrate(self) -> None:
        if self._version() == SCHEMA_VERSION:
            return
        from alembic.command import upgrade
        from alembic.config import Config

        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        with self.write() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(7240531)"))
            config.attributes["connection"] = connection
            upgrade(config, SCHEMA_VERSION)

    def _version(self) -> str | None:
        with self.read() as connection:
            if not inspect(connection).has_table("alembic_version"):
                return None
            return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def _make_engine(url: str) -> Engine:
    if not url.startswith("sqlite"):
        return create_engine(url, poolclass=QueuePool, pool_pre_ping=True)
    path = url.removeprefix("sqlite:///")
    if path and path != url:
        Path(path).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    engine = create_engine(url, poolclass=NullPool if ":memory:" in url else QueuePool)

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _: object) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
            f"busy_timeout={_BUSY_TIMEOUT_S * 1000}",
        ):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _without_password(engine: Engine) -> str:
    return engine.url.render_as_string(hide_password=True)
