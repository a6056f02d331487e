"""What a real MLflow holds of scans and of optimised ansaetze, told by the tracking process."""

import sqlite3
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlparse

import numpy as np
import pytest
import yaml
from sqlalchemy import update

from ledger import Database, Journal
from ledger.tables import runs
from problems import Circuit, Rotation
from shotwise.home import Home
from tasks.ansatz_record import OptimizedAnsatz, load_ansatz
from tests.simulation.command import Folder
from tests.unit.tasks.journals import enter_run

MODEL = "molecule-H2-0123456789ab"
CALLS_OF_A_CHILD = (
    "search_runs create_run log_batch log_batch log_artifacts log_artifacts create_model_version "
    "search_model_versions set_registered_model_alias set_terminated log_batch set_terminated"
)


def ansatz(energy: float, std_error: float) -> OptimizedAnsatz:
    circuit = Circuit.build(2, [Rotation(0b11, 0, 0b01, 0), Rotation(0b10, 0b10, None, 1)], initial_state=1)
    parameters = np.array([np.pi / 7, energy])
    return OptimizedAnsatz("run", "0123456789abcdef", circuit, parameters, energy, std_error, "Ha")


@pytest.fixture(scope="module")
def tracked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Home, str]:
    """Three runs of one scan, two of them told twice, the first to two processes; and the last's calls."""
    home = Home(tmp_path_factory.mktemp("tracking") / "home").make()
    journal = Journal(Database(f"sqlite:///{home.root / 'shotwise.db'}"))
    first, best, lucky = (
        enter_run(
            journal,
            name,
            [-1.0, energy],
            std_error=std_error,
            parent="h2-scan",
            ansatz_json=ansatz(energy, std_error).to_json(),
        )
        for name, energy, std_error in (("first", -1.10, 0.001), ("best", -1.12, 0.001), ("lucky", -1.2, 0.1))
    )
    track(home, first)
    with journal.database.write() as connection:  # as if its first driver had died before the id was noted
        connection.execute(update(runs).where(runs.c.run_id == first).values(mlflow_run_id=None, fence=2))
    journal.database.close()
    return home, track(home, first, best, best, lucky)


def track(home: Home, *run_ids: str) -> str:
    """Have the runs tracked, one after the other, by a process that is told of an unknown one too."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.simulation.recorded_tracking"],
        input="".join(f"+{run_id}\n-{run_id}\n" for run_id in (*run_ids, "unknown")),
        stdout=subprocess.PIPE,
        env=Folder(home.root).environment(),
        check=True,
        timeout=240,
        text=True,
    )
    *answers, calls = done.stdout.splitlines()
    assert answers == [*(f"complete {run_id}" for run_id in run_ids), "incomplete unknown"]
    return calls


@pytest.fixture(scope="module")
def home(tracked: tuple[Home, str]) -> Home:
    return tracked[0]


def rows(home: Home, sql: str) -> list[tuple]:
    connection = sqlite3.connect(home.root / "mlflow" / "mlflow.db")
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


def test_a_scan_is_a_parent_run_that_sums_its_children_up(home: Home) -> None:
    (parent,) = rows(home, "SELECT run_uuid FROM tags WHERE key = 'shotwise.scan' AND value = 'h2-scan'")
    children = rows(home, "SELECT run_uuid FROM tags WHERE key = 'mlflow.parentRunId'")
    assert len(children) == 3
    told = dict(rows(home, f"SELECT key, value FROM latest_metrics WHERE run_uuid = '{parent[0]}'"))
    assert told == {"children": 3, "energy_best": -1.12, "energy_best_std_error": 0.001}


def test_the_alias_follows_the_lowest_end_of_an_interval(home: Home) -> None:
    versions = rows(home, f"SELECT version FROM model_versions WHERE name = '{MODEL}'")
    assert sorted(version for (version,) in versions) == [1, 2, 3]
    assert rows(home, "SELECT alias, version FROM registered_model_aliases") == [("best", 2)]


def test_a_version_is_loaded_without_pickle(home: Home) -> None:
    ((source,),) = rows(home, "SELECT source FROM model_versions WHERE version = 2")
    folder = Path(unquote(urlparse(source).path))
    assert {path.name for path in folder.iterdir()} == {"MLmodel", "ansatz.json"}
    flavors = yaml.safe_load((folder / "MLmodel").read_text())["flavors"]
    assert flavors == {"shotwise": {"data": "ansatz.json", "format": 1}}
    assert load_ansatz(folder / "ansatz.json").to_json() == ansatz(-1.12, 0.001).to_json()


def test_a_process_asks_once_and_a_further_child_takes_few_calls(tracked: tuple[Home, str]) -> None:
    """Each is a transaction of the store, or a request to a server."""
    calls = tracked[1]
    assert calls.endswith(f" {CALLS_OF_A_CHILD}")
    assert calls.count("get_experiment_by_name") == calls.count("create_registered_model") == 1


def test_a_run_that_another_mlflow_tracked_is_tracked_anew(tmp_path: Path) -> None:
    """As a run is that was begun alone and is resumed by a team."""
    home = Home(tmp_path / "home").make()
    journal = Journal(Database(home.database_url))
    run_id = enter_run(journal, "h2", [-1.0, -1.1])
    journal.set_mlflow_run(run_id, "0" * 32)
    track(home, run_id)
    tracked = journal.run(run_id).mlflow_run_id
    assert tracked != "0" * 32
    assert rows(home, f"SELECT name, status FROM runs WHERE run_uuid = '{tracked}'") == [(run_id, "FINISHED")]
    logged = rows(home, f"SELECT count(*) FROM metrics WHERE run_uuid = '{tracked}' AND key = 'energy'")
    assert logged == [(2,)]
