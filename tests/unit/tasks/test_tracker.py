"""A tracking process that others are lent."""

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from ledger import Database, Journal
from shotwise.home import Home
from tasks.tracker import Tracker
from tests.unit.tasks.journals import enter_run

BORROWER = """
import sys
import psutil
from shotwise.home import Home
from tasks.tracker import Tracker

for run_id in sys.argv[1:]:
    Tracker.of(Home.from_environment()).track(run_id)()
print(len(psutil.Process().children()))
"""


def test_what_another_process_says_is_logged_by_the_one_it_was_lent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOTWISE_HOME", str(tmp_path))
    monkeypatch.delenv("DATABASE_URL", raising=False)
    home = Home.from_environment()
    journal = Journal(Database(home.database_url))
    run_ids = [enter_run(journal, name, [-1.0, -1.1]) for name in ("one", "two")]
    with Tracker.of(home).lent():
        command = [sys.executable, "-c", BORROWER, *run_ids]
        trackers_of_its_own = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
    assert int(trackers_of_its_own) == 0
    assert all(journal.run(run_id).mlflow_run_id for run_id in run_ids)


def test_mlflow_does_not_wait_for_the_disk_and_the_journal_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOTWISE_HOME", str(tmp_path))
    home = Home.from_environment()
    said = """
from shotwise.home import Home
from ledger import Database
from tasks.tracking.store import open_store
home = Home.from_environment()
store, journal = open_store(home)._tracking_client.store.engine, Database(home.database_url).engine
for engine in (store, journal):
    print(engine.connect().exec_driver_sql("PRAGMA synchronous").scalar())
"""
    found = subprocess.run([sys.executable, "-c", said], stdout=subprocess.PIPE, text=True, check=True)
    assert found.stdout.split()[-2:] == ["1", "2"]  # NORMAL, FULL
    with closing(sqlite3.connect(home.mlflow_uri.removeprefix("sqlite:///"))) as store:
        assert store.execute("PRAGMA journal_mode").fetchone() == ("wal",)
