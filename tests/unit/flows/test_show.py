"""`shotwise show` and what is printed at the end of a run: for people, with nothing of Python in it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from flows.cli import cli
from flows.cli_show import show_result
from ledger import Amount, Database, Journal, Ledger, NewRun, RunState
from shotwise.home import Home
from shotwise.spec import validate
from tasks.result import RunResult
from tasks.scan import ScanPoint, ScanResult

SPEC = {
    "name": "triangle",
    "problem": {"kind": "maxcut", "edges": [[0, 1], [1, 2], [0, 2]]},
    "ansatz": {"kind": "qaoa", "layers": 1},
    "execution": {"mode": "exact"},
}
RESULT = RunResult(
    "", "completed", "converged", -2.0, 0.0, -2.0, "exhaustive", 0.0, 1.0, 7, 21, 0, 0.0, "f00d", [0.1, 0.2],
    method={"optimizer": "adam"},
)  # fmt: skip


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("SHOTWISE_HOME", str(tmp_path))
    monkeypatch.delenv("DATABASE_URL", raising=False)
    return Home.from_environment()


def enter(home: Home, result: RunResult | ScanResult | None, **changed: object) -> tuple[Journal, str]:
    journal = Journal(Database(home.database_url))
    text = validate({**SPEC, **changed}).canonical_json()
    run_id = journal.create_run(NewRun("triangle", "maxcut", text, "", "{}"))
    if result is not None:
        lease = journal.acquire(run_id)
        lease.finish(state=result.state, reason=result.reason, result_json=result.to_json())
    return journal, run_id


def printed(*arguments: str) -> str:
    done = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_a_result_is_shown_as_it_was_after_the_run(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    journal, run_id = enter(home, RESULT)
    show_result(home, journal, run_id, as_json=False)
    after = capsys.readouterr().out
    table, hints = after.split("details", 1)
    assert f"shotwise compare {run_id} RUN" in hints
    assert "shotwise ui" in hints
    shown = printed("show", run_id)
    assert shown.startswith(table)
    for wanted in ("completed (converged)", "f00d", "optimizer", "adam", "ansatz.layers"):
        assert wanted in shown
    assert not set("{}'") & set(shown), "no Python, no JSON objects"


def test_raw_fields_are_for_json(home: Home) -> None:
    _, run_id = enter(home, RESULT)
    told = json.loads(printed("show", run_id, "--json"))
    assert told["parameters"] == [0.1, 0.2]
    assert told["spent_by_phase"] == {}
    assert told["spec"]["ansatz"]["layers"] == 1


def test_a_run_without_a_result_says_how_it_stands(home: Home) -> None:
    edges = [[i, i + 1] for i in range(60)]
    _, run_id = enter(home, None, problem={"kind": "maxcut", "edges": edges})
    shown = printed("show", run_id)
    assert "created" in shown
    assert "60 entries; --json prints them" in shown


def test_a_cost_that_the_ledger_has_otherwise_now_is_told_beside_the_result(home: Home) -> None:
    journal, run_id = enter(home, replace(RESULT, cost_usd=1.0, shots=10), account={"tenant": "lab"})
    account, ledger = f"lab/default/{run_id}", Ledger(journal.database)
    ledger.open_account(account)
    ledger.reserve("t", account, Amount(10, 1_000_000))
    ledger.settle("t", Amount(10, 1_000_000))
    assert "ledger now" not in printed("show", run_id)
    assert json.loads(printed("show", run_id, "--json"))["ledger_now"] is None
    stored = journal.run(run_id).result_json
    ledger.correct("t", "march", Amount(0, -250_000))
    assert "ledger now: $0.75 spent, $0.00 disputed\n" in printed("show", run_id)
    ledger.set_limit("lab", micro_usd=750_000)
    ledger.correct("t", "april", Amount(0, 2_000_000))
    ask = f"`shotwise budget disputes {account}`"
    assert f"ledger now: $0.75 spent, $2.00 disputed ({ask})" in printed("show", run_id)
    told = json.loads(printed("show", run_id, "--json"))
    assert told["ledger_now"] == {"spent_usd": 0.75, "disputed_usd": 2.0, "disputes_account": account}
    assert (told["cost_usd"], journal.run(run_id).result_json) == (1.0, stored)


def test_the_points_of_a_scan_are_added_up(home: Home) -> None:
    points = tuple(
        ScanPoint(at, f"scan.00{at}", "converged", -1.0, 0.01, -1.0, 1, 1, 10, 1.0, ()) for at in range(2)
    )
    journal, run_id = enter(home, ScanResult("scan", RunState.COMPLETED, "converged", "layers", points))
    ledger = Ledger(journal.database)
    for point in points:
        account = f"default/default/{point.run_id}"
        ledger.open_account(account)
        ledger.set_limit(account, micro_usd=1_000_000)
        ledger.reserve(point.run_id, account, Amount(10, 1_000_000))
        ledger.settle(point.run_id, Amount(10, 1_500_000))
    told = "ledger now: $2.00 spent, $1.00 disputed (`shotwise budget disputes default/default`)"
    assert told in printed("show", run_id)


def test_the_default_device_is_not_shown_where_a_policy_chooses(home: Home) -> None:
    execution = {"mode": "shots", "shots": 100}
    _, routed = enter(home, None, execution={**execution, "policy": "cheapest", "devices": ["sim-lima"]})
    assert "execution.device " not in printed("show", routed)
    _, called = enter(home, None, execution=execution)
    assert "execution.device " in printed("show", called)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({}, "its spec names a device that is called directly"),
        ({"execution": {"mode": "shots", "shots": 99}}, "its spec names a device that is called directly"),
        ({"ansatz": {"kind": "rqaoa"}}, "recursive QAOA runs no circuits on devices"),
        ({"execution": {"mode": "shots", "shots": 99, "device": "sim-lima"}}, "it has bought nothing yet"),
        (
            {"scan": {"layers": [1, 2]}},
            "its points are runs of their own",
        ),
    ],
)
def test_why_a_run_has_no_decisions_is_said(home: Home, changed: dict, why: str) -> None:
    _, run_id = enter(home, None, **changed)
    assert f"{run_id} was not routed: {why}" in printed("show", run_id, "--decisions")
