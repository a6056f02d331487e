"""What a person changes by hand: a device's standing, a disputed bill; and where nothing can be kept."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from flows.cli import cli
from ledger import Amount, Database, Journal, Ledger, jobs_of
from shotwise.errors import CannotRunError, ShotwiseError, SpecError
from tests.unit.tasks.journals import enter_run


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SHOTWISE_HOME", str(tmp_path))
    return tmp_path


def said(*arguments: str) -> str:
    return CliRunner().invoke(cli, arguments, catch_exceptions=False, standalone_mode=False).output


def test_a_device_is_taken_out_of_use_and_back() -> None:
    def health() -> str:
        return next(
            row["health"] for row in json.loads(said("devices", "--json")) if row["name"] == "sim-lima"
        )

    before = health()
    said("devices", "--quarantine", "sim-lima")
    assert health() == "quarantined: by hand"
    said("devices", "--release", "sim-lima")
    assert health() == before
    with pytest.raises(ShotwiseError, match="sim-nowhere"):
        said("devices", "--quarantine", "sim-nowhere")


def test_a_disputed_bill_is_accepted_or_waived(home: Path) -> None:
    database = Database(f"sqlite:///{home / 'shotwise.db'}")
    run_id = enter_run(Journal(database), "paid", [-1.0, -1.1], micro_usd=250)
    ledger = Ledger(database)
    ledger.set_limit("lab/p", micro_usd=500)
    first, second = (job.token for job in jobs_of(database, run_id))
    for token in (first, second):
        ledger.correct(token, "late", Amount(0, 100))
    assert {row["token"] for row in json.loads(said("budget", "disputes", "lab", "--json"))} == {
        first,
        second,
    }
    said("budget", "disputes", "lab", "--waive", first)
    ledger.set_limit("lab/p", micro_usd=600)
    assert second not in said("budget", "disputes", "lab", "--accept", second)
    assert ledger.balance("lab/p").posted.micro_usd == 600
    assert ledger.find(first).disputed == Amount()
    with pytest.raises(SpecError, match="nothing is disputed"):
        said("budget", "disputes", "lab", "--waive", first)


def test_a_folder_that_cannot_be_made_is_said_in_a_line(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "file").write_text("")
    monkeypatch.setenv("SHOTWISE_HOME", str(home / "file"))
    with pytest.raises(CannotRunError, match="SHOTWISE_HOME"):
        said("budget", "set", "lab", "--usd", "1")
