"""Processes of a sweep do not outlive it."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

from flows.sweep import end_with_parent
from ledger import Database, Journal
from tests.unit.tasks.journals import enter_run

SWEEP = """
import multiprocessing, os, sys, time
from concurrent.futures import ProcessPoolExecutor
from flows.sweep import drive_point

pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
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


def test_the_process_of_the_sweep_itself_goes_on() -> None:
    before = threading.active_count()
    end_with_parent.__wrapped__()
    assert threading.active_count() == before
