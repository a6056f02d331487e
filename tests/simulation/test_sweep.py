"""A sweep as a user runs it: killed, run again, on other workers; the same results."""

import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from tests.simulation.command import Folder

H2 = str(Path(__file__).parents[2] / "examples" / "h2.yaml")
GRID = ("sweep", H2, "--over", "seed=1,2,3", "--set", "optimizer.max_iterations=12")


def kill_when_one_is_completed(
    folder: Folder, process: subprocess.Popen[bytes]
) -> tuple[list[psutil.Process], int]:
    """SIGKILL a sweep; what it had started, itself or its workers, and how many workers it had."""
    give_up = time.monotonic() + 240
    while time.monotonic() < give_up and process.poll() is None:
        if folder.query("SELECT 1 FROM runs WHERE state = 'completed'"):
            break
        time.sleep(0.05)
    started = psutil.Process(process.pid).children(recursive=True)
    workers = [each for each in started if any("spawn_main" in word for word in each.cmdline())]
    process.send_signal(signal.SIGKILL)
    process.wait()
    return started, len(workers)


@pytest.mark.campaign
def test_a_killed_sweep_goes_on_and_workers_change_nothing(tmp_path: Path) -> None:
    killed, whole = Folder(tmp_path / "killed"), Folder(tmp_path / "whole")
    process = killed.start(*GRID, "--workers", "2")
    started, workers = kill_when_one_is_completed(killed, process)
    assert workers == 2
    _, orphans = psutil.wait_procs(started, timeout=60)
    assert orphans == []
    done = {row["run_id"] for row in killed.json("runs") if row["state"] == "completed"}
    rows = killed.json(*GRID, "--runner", "threads")
    assert done
    assert {row["run_id"] for row in rows} == {row["run_id"] for row in killed.json("runs")}
    other = whole.json(*GRID, "--workers", "2")
    assert [row["state"] for row in rows] == ["completed"] * 3
    assert [row["energy"] for row in rows] == [row["energy"] for row in other]


@pytest.mark.campaign
def test_a_sweep_on_dask_gives_the_same(tmp_path: Path) -> None:
    pytest.importorskip("prefect_dask")
    dask, alone = Folder(tmp_path / "dask"), Folder(tmp_path / "alone")
    rows = dask.json(*GRID, "--runner", "dask", "--workers", "2")
    assert [row["state"] for row in rows] == ["completed"] * 3
    assert [row["energy"] for row in rows] == [row["energy"] for row in alone.json(*GRID)]
