"""What a real MLflow holds of scans and of optimised ansaetze, told by the tracking process."""

import sqlite3
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlparse

import numpy as np
import pytest
import yaml

from ledger import Database, Journal
from problems import Circuit, Rotation
from shotwise.home import Home
from tasks.ansatz_record import OptimizedAnsatz, load_ansatz
from tests.simulation.command import Folder
from tests.unit.tasks.journals import enter_run

MODEL = "molecule-H2-0123456789ab"


def ansatz(energy: float, std_error: float) -> OptimizedAnsatz:
    circuit = Circuit.build(2, [Rotation(0b11, 0, 0b01, 0), Rotation(0b10, 0b10, None, 1)], initial_state=1)
    parameters = np.array([np.pi / 7, energy])
    return OptimizedAnsatz("run", "0123456789abcdef", circuit, parameters, energy, std_error, "Ha")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """Three runs of one scan, told to MLflow one after the other, the second twice."""
    home = Home(tmp_path_factory.mktemp("tracking") / "home").make()
    journal = Journal(Database(f"sqlite:///{home.root / 'shotwise.db'}"))
    found = {
        name: enter_run(
            journal,
            name,
            [-1.0, energy],
            std_error=std_error,
            parent="h2-scan",
            ansatz_json=ansatz(energy, std_error).to_json(),
        )
        for name, energy, std_error in (("first", -1.10, 0.001), ("best", -1.12, 0.001), ("lucky", -1.2, 0.1))
    }
    journal.database.close()
    told = [found[name] for name in ("first", "best", "best", "lucky")]
    done = subprocess.run(
        [sys.executable, "-m", "tasks.tracking"],
        input="".join(f"+{run_id}\n-{run_id}\n" for run_id in told) + "+unknown\n-unknown\n",
        stdout=subprocess.PIPE,
        env=Folder(home.root).environment(),
        check=True,
        timeout=240,
        text=True,
    )
    assert done.stdout.split("\n") == [*(f"complete {run_id}" for run_id in told), "incomplete unknown", ""]
    return home


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
