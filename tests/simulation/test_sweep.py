"""A sweep as a user runs it: killed, run again, on other workers; the same results."""

import signal
import sqlite3
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
    forked = [each for each in started if any("forkserver" in word for word in each.cmdline())]
    trackers = [each for each in started if "tasks.tracking" in each.cmdline()]
    assert len(trackers) == 1  # for all of them
    process.send_signal(signal.SIGKILL)
    process.wait()
    return started, len(forked) - 1  # the first is whom they are forked from


@pytest.mark.services
def test_a_point_that_samples_has_a_flow_run_and_an_exact_one_a_task_run(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "home")
    ways = "execution={mode: exact},{mode: shots, shots: 200}"
    fixed = "optimizer={name: spsa, max_iterations: 3}"
    exact, sampled = folder.json("sweep", H2, "--over", ways, "--set", fixed)
    assert [exact["state"], sampled["state"]] == ["completed"] * 2
    with sqlite3.connect(folder.home / "prefect" / "prefect.db") as prefect:
        names, states = zip(*prefect.execute("SELECT name, state_type FROM flow_run"), strict=True)
        points = prefect.execute("SELECT name, state_type FROM task_run WHERE name LIKE 'sweep-point%'")
        assert sorted(points) == sorted((f"sweep-point {p['run_id']}", "COMPLETED") for p in (exact, sampled))
        found = prefect.execute("SELECT name FROM task_run WHERE name LIKE 'quantum-%'")
        stages = {name.partition(" ")[0] for (name,) in found}
    assert sampled["run_id"] in names
    assert exact["run_id"] not in names
    assert (len(names), set(states)) == (2, {"COMPLETED"})
    assert stages == {"quantum-segment", "quantum-final"}
    shown = {way["run_id"]: folder.json("show", way["run_id"]) for way in (exact, sampled)}
    assert shown[exact["run_id"]]["prefect_flow_run_id"] is None
    assert shown[sampled["run_id"]]["prefect_flow_run_id"]
    assert all(each["mlflow_run_id"] for each in shown.values())


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
