"""The pilot of a run is no iteration, whoever counts them."""

import csv
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from flows.cli import cli
from ledger import Database, Journal, Submissions
from shotwise.home import Home
from shotwise.spec import validate
from tasks.advance import advance
from tasks.compare import compare
from tasks.evaluate import BatchResult, answer_from, plan_iteration
from tasks.prepare import prepare
from tasks.provenance import new_run
from tasks.state import initial, to_bytes
from tasks.submitting import team_status

PILOTED = {"mode": "shots", "target_std_error": 0.1}
FIXED = {"mode": "shots", "shots": 200}


@pytest.mark.parametrize(("execution", "pilots"), [(PILOTED, 1), (FIXED, 0)])
@pytest.mark.parametrize("iterations", [0, 2])
def test_a_pilot_is_none_of_the_iterations_that_commands_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, execution: dict, pilots: int, iterations: int
) -> None:
    monkeypatch.setenv("SHOTWISE_HOME", str(tmp_path))
    monkeypatch.delenv("DATABASE_URL", raising=False)
    journal = Journal(Database(Home.from_environment().database_url))
    problem = {"kind": "maxcut", "edges": [[0, 1], [1, 2], [0, 2]]}
    spec = validate({"problem": problem, "execution": execution, "optimizer": {"name": "spsa"}})
    run_id = Submissions(journal.database).enter(new_run(spec), deployment="qaoa/on-demand", queue="default")
    prepared, lease = prepare(spec), journal.acquire(run_id)
    state = initial(prepared)
    for _ in range(pilots + iterations):
        plan = plan_iteration(prepared, state)
        measured = BatchResult.free(plan, prepared.device.sample(plan))
        state, record = advance(prepared, state, answer_from(prepared, state, measured))
        lease.commit([record], iteration=state.iteration, state=to_bytes(state), active_us=0)

    (status,) = team_status(journal)
    (view,) = compare(journal, [run_id]).runs
    exported = CliRunner().invoke(cli, ["export", run_id], catch_exceptions=False).stdout
    rows = list(csv.DictReader(exported.splitlines()))
    assert status.iterations == view.iterations == len(rows) == state.iterations == iterations
    assert len(view.std_errors) == len(view.shots) == len(view.cost_usd) == iterations
    if iterations:
        assert int(rows[-1]["shots"]) == view.shots[-1] == state.shots, "with what the pilot took"
    told = CliRunner().invoke(cli, ["compare", run_id, "--json"], catch_exceptions=False).stdout
    assert json.loads(told)["runs"][0]["iterations"] == iterations
    journal.database.close()
