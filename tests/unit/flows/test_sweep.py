"""Processes of a sweep do not outlive it."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from flows.sweep import _failed, drive_point, end_with_parent
from ledger import Database, Journal
from tasks.sweep import enter_runs, grid
from tests.unit.tasks.journals import enter_run

H2 = Path(__file__).parents[3] / "examples" / "h2.yaml"
SWEEP = """
import os, sys, time
from flows.sweep import drive_point
from flows.sweep_processes import open_pool, worker_processes

with worker_processes(1, ["flows.sweep"]):
    pool = open_pool()
    assert pool.submit(drive_point, sys.argv[1]).result()["state"] == "completed"
    print(pool.submit(os.getpid).result(), flush=True)
    time.sleep(600)
"""


def test_a_worker_ends_with_the_sweep_that_started_it(tmp_path: Path) -> None:
    address = f"sqlite:///{tmp_path / 'shotwise.db'}"
    run_id = enter_run(Journal(Database(address)), "done", [-1.0])
    command = [sys.executable, "-c", SWEEP, run_id]
    environment = {**os.environ, "SHOTWISE_HOME": str(tmp_path), "DATABASE_URL": address}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as sweep:
        assert sweep.stdout is not None
        worker = int(sweep.stdout.readline())
        sweep.kill()
        try:
            rest, _ = sweep.communicate(timeout=60)  # comes to its end when the last who can write is gone
        except subprocess.TimeoutExpired:
            os.kill(worker, signal.SIGKILL)
            raise
    assert rest == b""


def test_a_row_has_the_same_fields_whether_or_not_another_process_drives_the_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"sqlite:///{tmp_path / 'shotwise.db'}"
    monkeypatch.setenv("SHOTWISE_HOME", str(tmp_path))
    monkeypatch.setenv("DATABASE_URL", address)
    monkeypatch.setattr("tasks.driving._BUSY_WAIT_S", 0.0)
    journal = Journal(Database(address))
    ended = enter_run(journal, "ended", [-1.0])
    (driven,) = enter_runs(journal, "a", grid(H2, [], ["seed=1"]))
    journal.acquire(driven)
    rows = [drive_point(ended), drive_point(driven), _failed(driven, "its process is gone")]
    fields = {"run_id", "name", "state", "reason", "energy", "energy_std_error", "unit", "error"}
    assert [set(row) for row in rows] == 3 * [fields]
    assert (rows[0]["state"], rows[0]["error"]) == ("completed", None)
    assert (rows[1]["name"], rows[1]["state"], rows[1]["energy"]) == ("h2", "running", None)
    assert "drives" in rows[1]["error"]
    assert (rows[2]["state"], rows[2]["error"]) == ("failed", "its process is gone")


def test_the_process_of_the_sweep_itself_goes_on() -> None:
    before = threading.active_count()
    end_with_parent.__wrapped__()
    assert threading.active_count() == before
