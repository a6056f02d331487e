"""The three databases of a team: journal and ledger, MLflow, Prefect; on one PostgreSQL where that can be.

`DATABASE_URL` names a PostgreSQL that somebody else runs; without it one is kept in the state folder.
`python -m deployments.databases` makes them where they do not exist.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from sqlalchemy import URL, create_engine, make_url, text
from sqlalchemy.exc import OperationalError

from deployments.postgresql import PostgreSQL
from ledger.database import parse_address
from shotwise.errors import CannotRunError
from shotwise.home import Home

PREFECT_DATABASE = "PREFECT_SERVER_DATABASE_CONNECTION_URL"
MLFLOW_DATABASE = "MLFLOW_BACKEND_STORE_URI"


@dataclass(frozen=True)
class Databases:
    """Where each service keeps its state.

    Attributes:
        server: the PostgreSQL that is ours to start and stop; None where `DATABASE_URL` names another.
        journal_url, mlflow_url, prefect_url: as each service's library wants it.
    """

    server: PostgreSQL | None
    journal_url: str
    mlflow_url: str
    prefect_url: str

    @classmethod
    def of(cls, home: Home) -> Databases:
        """By `DATABASE_URL`, or in the state folder.

        Raises:
            CannotRunError: `DATABASE_URL` is no address or no PostgreSQL, or none is installed.
        """
        if told := os.environ.get("DATABASE_URL"):
            return cls._named(told)
        server = PostgreSQL.of(home.root / "team" / "postgresql", home.logs / "postgresql.log")
        sqlite = f"sqlite+aiosqlite:///{home.root / 'team' / 'prefect.db'}"
        prefect = server.url("prefect", "asyncpg") if server.installation.is_full else sqlite
        return cls(
            server, server.url("shotwise"), server.url("mlflow"), os.environ.get(PREFECT_DATABASE) or prefect
        )

    @classmethod
    def _named(cls, told: str) -> Databases:
        url = parse_address(told)
        if url.get_backend_name() != "postgresql":
            remedy = "name a PostgreSQL, or unset it for one in the state folder"
            raise CannotRunError("DATABASE_URL", url.drivername, "a team needs PostgreSQL", remedy)
        beside = url.set(drivername="postgresql+psycopg", database=f"{url.database}_mlflow")
        prefect = url.set(drivername="postgresql+asyncpg", database=f"{url.database}_prefect")
        return cls(
            None,
            told,
            os.environ.get(MLFLOW_DATABASE) or _text(beside),
            os.environ.get(PREFECT_DATABASE) or _text(prefect),
        )

    @property
    def stored_journal_url(self) -> str | None:
        """What the state folder may remember: an address without a password."""
        return self.journal_url if self.server else None

    def start(self) -> None:
        """Start the server if it is ours, and make the databases that do not exist. Idempotent."""
        if self.server:
            self.server.start()
        for url in (self.journal_url, self.mlflow_url, self.prefect_url):
            if url.startswith("postgresql"):
                _create(make_url(url))

    def stop(self) -> bool:
        """Stop the server if it is ours; whether it ran."""
        running = self.server is not None and self.server.is_running()
        if self.server:
            self.server.stop()
        return running


def _create(url: URL) -> None:
    """Make the database of an address, beside the one that every server has."""
    plain = url.set(drivername="postgresql+psycopg")
    engine = create_engine(plain.set(database="postgres"), isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            known = text("SELECT 1 FROM pg_database WHERE datname = :name")
            if connection.execute(known, {"name": url.database}).first() is None:
                quoted = engine.dialect.identifier_preparer.quote_identifier(str(url.database))
                connection.execute(text(f"CREATE DATABASE {quoted}"))
    except OperationalError as error:
        reason = str(error.orig).splitlines()[0]
        raise CannotRunError(
            "DATABASE_URL", plain.render_as_string(hide_password=True), reason, "check that it is reachable"
        ) from None
    finally:
        engine.dispose()


def _text(url: URL) -> str:
    return url.render_as_string(hide_password=False)


if __name__ == "__main__":
    Databases.of(Home.from_environment()).start()
