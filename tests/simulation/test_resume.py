"""A run that is killed at any moment ends, resumed, byte for byte as if it had not been."""

import random
import sqlite3
import time
from pathlib import Path

import pytest

from shotwise.home import Home
from tasks.prefect_server import PrefectServer
from tests.simulation.command import Folder, kill_at

SPEC = """
name: lih
problem:
  kind: molecule
  geometry: "Li 0 0 0; H 0 0 1.6"
  active_space: {electrons: 2, orbitals: 3}
optimizer: {name: adam, learning_rate: 0.1, max_iterations: 30}
execution: {mode: shots, shots: 400}
seed: 7
"""
"""Iterations of a fifth of a second, so that a run is many segments."""


def killed_and_resumed(folder: Folder, spec: Path, seed: int, *, kills: int) -> tuple[str, dict]:
    """Start a run, kill it `kills` times at seeded moments, and let the last resume end it."""
    rng = random.Random(seed)
    process = folder.start("run", str(spec), "--quiet")
    assert kill_at(folder, process, rng, known=1, more=26), f"seed {seed}: the run ended before it was killed"
    run_id = folder.newest_run()
    for _ in range(kills - 1):
        done = folder.iterations_done(run_id)
        process = folder.start("resume", run_id, "--quiet")
        kill_at(folder, process, rng, known=done, more=max(1, 28 - done))
    return run_id, folder.json("resume", run_id, "--quiet")


def assert_same_run(
    folder: Folder, undisturbed: dict, run_id: str, resumed: dict, seed: int, *, outcomes: bool = True
) -> None:
    ids = ("run_id", "mlflow_run_id", "prefect_flow_run_id")
    differing = {k: (v, resumed[k]) for k, v in undisturbed.items() if k not in ids and resumed[k] != v}
    assert not differing, f"seed {seed}: {differing}"
    before = folder.footprint(undisturbed["run_id"], outcomes=outcomes)
    assert folder.footprint(run_id, outcomes=outcomes) == before, f"seed {seed}"


def mlflow_points(folder: Folder, mlflow_run_id: str) -> list[tuple]:
    connection = sqlite3.connect(folder.home / "mlflow" / "mlflow.db")
    try:
        return connection.execute(
            "SELECT step, value FROM metrics WHERE run_uuid = ? AND key = 'energy' ORDER BY step",
            (mlflow_run_id,),
        ).fetchall()
    finally:
        connection.close()


@pytest.mark.timeout(600)
def test_a_killed_run_ends_as_if_undisturbed(tmp_path: Path) -> None:
    spec = tmp_path / "lih.yaml"
    spec.write_text(SPEC)
    folder = Folder(tmp_path / "home")
    undisturbed = folder.json("run", str(spec), "--quiet")
    run_id, resumed = killed_and_resumed(folder, spec, seed=1, kills=2)
    assert_same_run(folder, undisturbed, run_id, resumed, seed=1)
    points = mlflow_points(folder, resumed["mlflow_run_id"])
    assert points == mlflow_points(folder, undisturbed["mlflow_run_id"])
    assert [step for step, _ in points] == list(range(30))
    with sqlite3.connect(folder.home / "prefect" / "prefect.db") as connection:
        open_runs = connection.execute(
            "SELECT state_type FROM flow_run WHERE state_type NOT IN ('COMPLETED', 'CRASHED', 'CANCELLED')"
            " UNION ALL SELECT state_type FROM task_run WHERE state_type NOT IN ('COMPLETED', 'CRASHED')"
        ).fetchall()
    connection.close()
    assert open_runs == []
    again = folder.json("resume", run_id, "--quiet")
    assert again == resumed


@pytest.mark.timeout(600)
def test_a_second_driver_is_refused_and_the_first_is_not_disturbed(tmp_path: Path) -> None:
    spec = tmp_path / "lih.yaml"
    spec.write_text(SPEC.replace("max_iterations: 30", "max_iterations: 200"))
    folder = Folder(tmp_path / "home")
    first = folder.start("run", str(spec), "--quiet")
    while not folder.iterations_done() and first.poll() is None:
        time.sleep(0.02)
    second = folder.command("resume", folder.newest_run())
    assert first.poll() is None, "the first driver must still be at work for this to say anything"
    assert second.returncode == 3
    assert "another process drives this run" in second.stderr
    assert len(second.stderr.strip().splitlines()) == 1
    first.terminate()
    assert first.wait(60) == 130
    assert folder.query("SELECT state FROM runs") == [("interrupted",)]


@pytest.mark.campaign
@pytest.mark.timeout(3600)
def test_thirty_of_thirty_killed_runs_end_byte_identical(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    server = PrefectServer.start(home)
    try:
        folder = Folder(home.root, server.wait())
        spec = tmp_path / "lih.yaml"
        spec.write_text(SPEC)
        undisturbed = folder.json("run", str(spec), "--quiet")
        for seed in range(30):
            run_id, resumed = killed_and_resumed(folder, spec, seed, kills=1)
            assert_same_run(folder, undisturbed, run_id, resumed, seed)
            print(f"seed {seed}: killed, resumed, identical", flush=True)
    finally:
        server.stop()
