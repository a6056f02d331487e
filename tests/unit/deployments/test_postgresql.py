"""The state folder's PostgreSQL: private, and restarted under a journal that goes on."""

import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployments.postgresql import PostgreSQL
from ledger import Database, Journal, NewRun


@pytest.fixture
def server() -> Iterator[PostgreSQL]:
    """Outside of pytest's folder, which every session of pytest closes to the server's user."""
    with tempfile.TemporaryDirectory(prefix="shotwise-") as folder:
        server = PostgreSQL.of(Path(folder) / "postgresql", Path(folder) / "postgresql.log")
        server.start()
        yield server
        server.stop()


def test_a_journal_goes_on_over_a_restart(server: PostgreSQL) -> None:
    database = Database(server.url("postgres"))
    journal = Journal(database)
    run_id = journal.create_run(
        NewRun(name="a", kind="x", spec_json="{}", problem_sha256="", versions_json="{}")
    )
    lease = journal.acquire(run_id)
    server.stop()
    assert not server.is_running()
    back = threading.Timer(1.0, server.start)
    back.start()
    lease.commit([], iteration=1, state=b"after", active_us=0)
    back.join()
    assert lease.restore() == (1, b"after", 0)
    database.close()


def test_it_listens_to_its_owner_alone(server: PostgreSQL) -> None:
    assert server.socket_folder.stat().st_mode & 0o777 == 0o700
    database = Database(server.url("postgres"))
    with database.read() as connection:
        told = connection.exec_driver_sql("SHOW listen_addresses").scalar()
    database.close()
    assert told == ""
    again = PostgreSQL.of(server.data.parent, server.log)
    assert again.is_running()
    assert again.installation.major == server.installation.major
