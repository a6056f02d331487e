"""The first `up` on a folder that was used alone: its journal goes to the team, and commands use that one."""

import json
from pathlib import Path

import pytest

from deployments.first_up import OLD_JOURNAL, check_can_hand_over, hand_over_journal, retire_journal
from ledger import Database, Journal, Ledger, NewRun
from shotwise.errors import CannotRunError
from shotwise.home import Home
from shotwise.team import Team
from tests.databases import new_journal

NEW = NewRun(name="h2", kind="molecule", spec_json="{}", problem_sha256="", versions_json="{}")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A folder with a limit and a run of its own."""
    monkeypatch.delenv("DATABASE_URL", raising=False)
    home = Home(tmp_path)
    database = new_journal(home.own_journal)
    Ledger(database).open_account("lab")
    Ledger(database).set_limit("lab", micro_usd=5_000_000)
    Journal(database).create_run(NEW, run_id="h2-1")
    database.close()
    return home


def up(home: Home) -> list[str]:
    """What the first `up` does with journals, the team's on SQLite; what it says."""
    said: list[str] = []
    url = f"sqlite:///{home.root / 'team.db'}"
    check_can_hand_over(home)
    done = hand_over_journal(home, url, said.append)
    Team("http://127.0.0.1:1/api", "http://127.0.0.1:2", url).write(home.root)
    if done:
        retire_journal(home)
    return said


def limit(home: Home) -> int | None:
    database = Database(home.database_url)
    try:
        return Ledger(database).balance("lab").limit_micro_usd
    finally:
        database.close()


def test_runs_and_limits_go_to_the_team_once(home: Home) -> None:
    assert up(home) == ["carried over from shotwise.db: 1 run, 1 account"]
    assert limit(home) == 5_000_000
    assert not home.own_journal.exists()
    assert (home.root / OLD_JOURNAL).exists()
    assert up(home) == []


def test_a_folder_without_a_journal_has_nothing_to_hand_over(tmp_path: Path) -> None:
    assert up(Home(tmp_path)) == []
    assert not (tmp_path / "shotwise.db").exists()


def test_killed_before_the_folder_was_the_teams_it_goes_on(home: Home) -> None:
    hand_over_journal(home, f"sqlite:///{home.root / 'team.db'}", lambda _: None)
    with pytest.raises(CannotRunError, match="shotwise up"):
        Journal(Database(home.database_url)).create_run(NEW)
    assert up(home) == ["carried over from shotwise.db: 1 run, 1 account"]
    assert limit(home) == 5_000_000
    assert not home.own_journal.exists()


def test_a_team_that_has_books_of_its_own_keeps_them_and_says_so(home: Home) -> None:
    Ledger(Database(f"sqlite:///{home.root / 'team.db'}")).open_account("lab")
    (said,) = up(home)
    assert "not carried over" in said
    assert "shotwise budget set" in said
    assert limit(home) is None
    assert home.own_journal.exists()


def test_a_driven_run_is_one_line_before_anything_starts(home: Home) -> None:
    Journal(Database(home.database_url)).acquire("h2-1")
    with pytest.raises(CannotRunError, match="h2-1") as refused:
        check_can_hand_over(home)
    assert refused.value.exit_code == 3
    assert not (home.root / "team.json").exists()


def test_a_journal_that_is_being_read_is_renamed_later(home: Home) -> None:
    reader = Database(home.database_url)
    with reader.read() as connection:
        connection.exec_driver_sql("SELECT count(*) FROM runs")
        up(home)
        assert home.own_journal.exists()
    assert json.loads((home.root / "team.json").read_text())["database_url"].endswith("team.db")
    reader.close()
    up(home)
    assert not home.own_journal.exists()
