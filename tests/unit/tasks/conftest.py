"""A real sandbox provider for each module (some advance its clock), and a buyer on a real journal."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from backends.fleet import SANDBOX_URL
from backends.sandbox.connection import KEY_VARIABLE
from backends.sandbox.process import SandboxProcess
from ledger import JobBook, Journal, Ledger, NewRun
from tasks.durable import Buyer
from tests.databases import new_journal
from tests.unit.tasks.buying import KEY, QUICK, close_fleets, fleet


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    with SandboxProcess(tmp_path_factory.mktemp("sandbox"), queue_scale=0, key=KEY) as process:
        yield process


@pytest.fixture
def buyer(tmp_path: Path, sandbox: SandboxProcess, monkeypatch: pytest.MonkeyPatch) -> Iterator[Buyer]:
    monkeypatch.setenv(KEY_VARIABLE, KEY.get_secret_value())
    monkeypatch.setenv(SANDBOX_URL, sandbox.url)
    sandbox.control().clear()
    journal = Journal(new_journal(tmp_path / "journal.db"))
    run_id = journal.create_run(
        NewRun(name="run", kind="pauli", spec_json="{}", problem_sha256="", versions_json="{}")
    )
    ledger = Ledger(journal.database)
    account = f"tenant/project/{run_id}"
    ledger.open_account(account)
    ledger.set_limit("tenant", micro_usd=500_000_000)
    yield Buyer(JobBook(journal.acquire(run_id), account), fleet(), QUICK)
    close_fleets()
    sandbox.control().clear()
    journal.database.close()


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Journal]:
    """A journal of its own, in a home of its own."""
    monkeypatch.setenv("SHOTWISE_HOME", str(tmp_path))
    database = new_journal(tmp_path / "journal.db")
    yield Journal(database)
    database.close()
