"""What a person does and sees in Prefect's UI: runs of every flow are started, cancelled and watched there.

A real Prefect server; the process does what Prefect's runner has one do, and is sent what that sends, SIGTERM
after the flow run's state became Cancelling.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ledger import Database, Journal, RunState, Submissions
from shotwise.home import Home
from tasks.prefect_server import PrefectServer

ROOT = Path(__file__).parents[3]
LONG = {
    "problem": {"kind": "molecule", "geometry": "H 0 0 0; H 0 0 0.6"},
    "ansatz": {"kind": "uccsd"},
    "optimizer": {"name": "adam", "max_iterations": 10_000, "tolerance": 0},
    "execution": {"mode": "shots", "shots": 300},
}
GRAPH = {"kind": "maxcut", "generator": {"name": "random_regular", "degree": 3, "nodes": 60, "seed": 7}}
SPECS = {
    "vqe": LONG,
    "rqaoa": {"problem": GRAPH, "ansatz": {"kind": "rqaoa", "cutoff": 8}},
    "scan": {**LONG, "scan": {"bond": [0, 1], "from": 0.6, "to": 1.0, "points": 2}},
}
SCRIPT = """
import json, signal, sys
from pathlib import Path
from shotwise.home import Home
from tasks.prefect_server import PrefectServer

server = PrefectServer.start(Home(Path(sys.argv[1])))
server.apply_environment()
server.wait()
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.flow_engine import run_flow
from prefect.states import Cancelling
from flows import elimination_loop
from flows.session import flow_of
from shotwise.spec import validate
from tasks import free_iterations
from tasks.progress import progress_listener

elimination_loop.SEGMENT_S = free_iterations.SEGMENT_S = 0.0  # a person comes in between any two
given, is_cancelled = json.loads(sys.argv[2]), sys.argv[3] == "cancelled"
flow = flow_of(validate(given))
with get_client(sync_client=True) as client:
    deployment = client.create_deployment(client.create_flow(flow), "on-demand")
    asked = client.create_flow_run_from_deployment(deployment, parameters={"spec": given})

    def cancel(progress, done=[]):
        if is_cancelled and not done:
            done.append(client.set_flow_run_state(asked.id, Cancelling()))
            signal.raise_signal(signal.SIGTERM)

    with progress_listener(cancel):
        state = run_flow(flow, asked, parameters=asked.parameters, return_type="state")
    ours = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[asked.id]))
    shown = {each.key or each.type: each.data for each in client.read_artifacts(artifact_filter=ours)}
ended = {"flow_run_id": str(asked.id), "type": state.type, "name": state.name, "shown": shown}
print(json.dumps(ended))
server.stop()
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """With a server that lives as long as all tests."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(("PREFECT_", "SHOTWISE_")):
                patch.delenv(name)
        home = Home(tmp_path_factory.mktemp("home"))
        patch.setenv("SHOTWISE_HOME", str(home.root))
        patch.setenv("PYTHONPATH", str(ROOT))
        server = PrefectServer.start(home)
        server.wait()
        yield home
        server.stop()


@pytest.fixture
def database(home: Home) -> Iterator[Database]:
    database = Database(home.database_url)
    yield database
    database.close()


def run_in_prefect(home: Home, spec: dict[str, Any], *, cancelled: bool) -> dict[str, Any]:
    """How a flow run of a deployment ended, maybe cancelled by a person after the run's first iteration."""
    told = [str(home.root), json.dumps(spec), "cancelled" if cancelled else ""]
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT, *told]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("flow", SPECS)
def test_a_deployments_run_is_the_teams_and_ends_when_it_is_cancelled_in_prefect(
    home: Home, database: Database, flow: str
) -> None:
    ended = run_in_prefect(home, SPECS[flow], cancelled=True)
    journal, submissions = Journal(database), Submissions(database)
    run_id = journal.run_of_flow(ended["flow_run_id"])
    assert run_id is not None
    parts = [run_id, *(each.run_id for each in journal.children(run_id))]
    assert [journal.run(each).state for each in parts] == [RunState.CANCELLED] * len(parts)
    assert (ended["type"], ended["name"]) == ("CANCELLED", "Cancelled")
    assert submissions.of_flow_run(ended["flow_run_id"]) == run_id
    submission = submissions.find(run_id)
    assert submission is not None
    assert submission.deployment == f"{flow}/on-demand"
    assert submissions.unfinished() == [], "a point of a scan is the scan's to finish"


def test_a_scan_shows_its_progress_its_curve_and_where_mlflow_has_it(home: Home, database: Database) -> None:
    ended = run_in_prefect(
        home, {**SPECS["scan"], "execution": {"mode": "exact"}, "optimizer": {}}, cancelled=False
    )
    run_id = Journal(database).run_of_flow(ended["flow_run_id"])
    shown = ended["shown"]
    assert (ended["type"], shown["progress"]) == ("COMPLETED", 100.0)
    curve = shown["shotwise-summary"].splitlines()
    assert curve[0] == f"# {run_id}"
    assert curve[2].startswith("| bond 0-1 (angstrom) | energy | ")
    assert [row.split()[1] for row in curve[4:]] == ["0.6", "1"]
    assert str(Journal(database).run(str(run_id)).mlflow_run_id) in shown["shotwise-mlflow-run"]
