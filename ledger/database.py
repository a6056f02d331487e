"""One database for everything that must not be lost: SQLite by default, PostgreSQL for a team.

Every transaction that writes begins as a write (BEGIN IMMEDIATE on SQLite), so none fails half-way for a
lock that another took in between; every commit is on disk before it returns (synchronous=FULL).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import (
    URL,
    Connection,
    Engine,
    PoolProxiedConnection,
    create_engine,
    event,
    inspect,
    make_url,
    text,
)
from sqlalchemy.exc import ArgumentError, DatabaseError, InvalidatePoolError, OperationalError
from sqlalchemy.pool import ConnectionPoolEntry, NullPool, QueuePool

from ledger.errors import NoAddressError, NotOpenedError, StorageError
from ledger.statements import Driver
from shotwise.errors import CannotRunError

SCHEMA_VERSION = "0009"
_BUSY_TIMEOUT_S = 30
# A server that is restarted is back sooner; one that is not is somebody's to look at.
_AWAY_S_MAX = 120.0
_LOOK_AGAIN_S = 0.2
_TRUSTED_IDLE_S = 0.1
"""A connection idle for longer is asked whether it is alive before it is used."""
_IDLE_SINCE = "idle_since"
"""Where a connection of the pool keeps when it was used last."""
HANDED_OVER = "this journal was handed over to the folder's team"
"""What `ledger.handover` has a journal answer to every write."""
_EXAMPLE = "postgresql+psycopg://USER@HOST/NAME"
_DAMAGED = ("file is not a database", "database disk image is malformed")
"""SQLite's words for a file that no longer holds what it held."""
_USE_TEAM = "`shotwise up`, then give the command again"


T = TypeVar("T")


class Database:
    """Transactions on the journal's database, its schema brought up to date at the first opening.

    Opening it raises NotOpenedError where it cannot be read and written.

    A server that goes away later is waited for before a transaction begins. One that goes away within a
    transaction fails it with OperationalError; what was committed is then for the caller to read.
    """

    def __init__(self, url: str) -> None:
        self.engine = _make_engine(url)
        self._away_s_max = 0.0
        self._at_hand: list[tuple[PoolProxiedConnection, float]] = []
        try:
            self._migrate()
        except StorageError as error:
            raise _not_opened(self.engine.url, error.reason) from None
        self._away_s_max = _AWAY_S_MAX

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that may write: committed at the end, rolled back on an exception."""
        with self.translate_errors(), self.connect(writes=True) as connection, connection.begin():
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that writes nothing; on PostgreSQL each statement sees what is committed by then."""
        with self.translate_errors(), self.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """A transaction that writes nothing, all of whose statements see one state."""
        with self.translate_errors(), self.connect() as connection:
            if self.engine.dialect.name == "postgresql":
                connection = connection.execution_options(isolation_level="REPEATABLE READ")
            with connection.begin():
                yield connection

    @contextmanager
    def driver(self) -> Iterator[Driver]:
        """The driver's own connection, without transactions around it: for the few that must be fast."""
        with self.translate_errors():
            pooled = self._take()
            try:
                yield Driver(self.engine.dialect, pooled)
            except BaseException:
                if pooled.is_valid:
                    pooled.invalidate()  # in whatever state it is, nobody gets it again
                raise
            self._keep(pooled)

    def _take(self) -> PoolProxiedConnection:
        """A connection that was just used, or one from the pool."""
        try:
            pooled, since = self._at_hand.pop()
        except IndexError:
            return self._with_retries(self.engine.raw_connection)
        if time.monotonic() - since < _TRUSTED_IDLE_S:
            return pooled
        info = pooled.info
        pooled.close()
        info[_IDLE_SINCE] = since  # it goes back unused, and is asked whether it is alive
        return self._with_retries(self.engine.raw_connection)

    def _keep(self, pooled: PoolProxiedConnection) -> None:
        """Keep one at hand: to and from the pool is half of what the fast ones would take."""
        if self._at_hand:
            pooled.close()
        else:
            self._at_hand.append((pooled, time.monotonic()))

    def connect(self, **options: Any) -> Connection:
        """A connection that works now, with execution options. Raises OperationalError."""
        return self._with_retries(self.engine.execution_options(**options).connect)

    def _with_retries(self, open_: Callable[[], T]) -> T:
        """What opens once the database answers; one that is restarted is waited for."""
        give_up = time.monotonic() + self._away_s_max
        while True:
            try:
                return open_()
            except OperationalError:
                if time.monotonic() > give_up:
                    raise
            time.sleep(_LOOK_AGAIN_S)

    def close(self) -> None:
        while self._at_hand:
            self._at_hand.pop()[0].close()
        self.engine.dispose()

    @contextmanager
    def translate_errors(self) -> Iterator[None]:
        """Turn a failure of the database itself into one line of ours; what its rules refuse passes."""
        try:
            yield
        except DatabaseError as error:
            if HANDED_OVER in str(error.orig):
                raise CannotRunError("SHOTWISE_HOME", self._name(), HANDED_OVER, _USE_TEAM) from None
            if type(error) not in (DatabaseError, OperationalError):
                raise
            raise StorageError(self._name(), str(error.orig).strip().splitlines()[0]) from error

    def _name(self) -> str:
        return self.engine.url.render_as_string(hide_password=True)

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


def parse_address(url: str) -> URL:
    """A database's address as SQLAlchemy takes it.

    Raises:
        NoAddressError: it is none, or its driver is not installed.
    """
    try:
        parsed = make_url(url)
        parsed.get_dialect().import_dbapi()
    except (ArgumentError, ValueError):
        problem, remedy = "not the address of a database", f"write it as {_EXAMPLE}, or unset it"
    except ModuleNotFoundError as error:
        problem, remedy = f"its driver {error.name} is not installed", f"write it as {_EXAMPLE}"
    else:
        return parsed
    raise NoAddressError(url.rpartition("@")[2], problem, remedy)  # a password comes before


def _not_opened(url: URL, reason: str) -> NotOpenedError:
    cause = f"cannot be opened: {reason.rpartition('failed: ')[2]}"
    unreachable = url.get_backend_name() == "postgresql" and "connection" in reason
    damaged = any(words in reason for words in _DAMAGED)
    remedy = "restore it from a backup" if damaged else "check that it is reachable and writable"
    address = url.render_as_string(hide_password=True)
    return NotOpenedError(address, cause, remedy, unreachable=unreachable, damaged=damaged)


def _make_engine(url: str) -> Engine:
    if not url.startswith("sqlite"):
        engine = create_engine(parse_address(url), poolclass=QueuePool)
        _check_idle_connections(engine)
        return engine
    path = url.removeprefix("sqlite:///")
    if path and path != url and not path.startswith("file:"):
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


def _check_idle_connections(engine: Engine) -> None:
    """Ask before the use of a connection that was idle for long: a server may have been restarted since.

    SQLAlchemy's own ping asks before every transaction, which costs as much as the ledger's answer.
    """

    @event.listens_for(engine, "checkin")
    def _note(_: object, record: ConnectionPoolEntry) -> None:
        record.info[_IDLE_SINCE] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def _ask(connection: Any, record: ConnectionPoolEntry, _: object) -> None:
        idle_since = record.info.get(_IDLE_SINCE)
        if idle_since is None or time.monotonic() - idle_since < _TRUSTED_IDLE_S:
            return
        try:
            engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error as error:
            raise InvalidatePoolError from error
