"""A sweep as a user runs it: killed, run again, on other workers; the same results."""

import signal
import time
from pathlib import Path

import pytest

from tests.simulation.command import Folder

H2 = str(Path(__file__).parents[2] / "examples" / "h2.yaml")
GRID = ("sweep", H2, "--over", "seed=1,2,3", "--set", "optimizer.max_iterations=12")


@pytest.mark.campaign
def test_a_killed_sweep_goes_on_and_workers_change_nothing(tmp_path: Path) -> None:
    killed, whole = Folder(tmp_path / "killed"), Folder(tmp_path / "whole")
    process = killed.start(*GRID)
    database = killed.home / "shotwise.db"
    give_up = time.monotonic() + 240
    while time.monotonic() < give_up and process.poll() is None:
        if database.exists() and any(row["state"] == "completed" for row in killed.json("runs")):
            process.send_signal(signal.SIGKILL)
        time.sleep(0.5)
    process.wait()
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
