"""A tracking process that others are lent."""

import subprocess
import sys
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
