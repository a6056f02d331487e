"""Commands that only ask leave an empty state folder empty, and say that nothing was run there."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from flows.cli import cli
from shotwise.errors import SpecError

SPEC = {
    "problem": {"kind": "maxcut", "edges": [[0, 1], [1, 2], [0, 2]]},
    "ansatz": {"kind": "qaoa", "layers": 1},
    "execution": {"mode": "shots", "shots": 100, "policy": "cheapest", "devices": ["sim-lima"]},
}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SHOTWISE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("DATABASE_URL", raising=False)
    (tmp_path / "state").mkdir()
    return tmp_path / "state"


@pytest.mark.parametrize("command", ["show", "export", "compare", "cancel", "resume"])
def test_a_run_that_cannot_be_there(home: Path, command: str) -> None:
    done = CliRunner().invoke(cli, [command, "nope"])
    assert isinstance(done.exception, SpecError)
    assert "no such run" in str(done.exception)
    assert f"nothing was run in {home} yet" in done.stderr
    assert not list(home.iterdir())


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("runs --json", []),
        ("budget show --json", []),
        ("reconcile --json", []),
        ("metrics", None),
    ],
)
def test_a_question_is_answered(home: Path, command: str, answer: object) -> None:
    done = CliRunner().invoke(cli, command.split(), catch_exceptions=False)
    assert done.exit_code == 0
    assert answer is None or json.loads(done.stdout) == answer
    assert f"nothing was run in {home} yet" in done.stderr
    assert not list(home.iterdir())


@pytest.mark.parametrize("command", ["plan", "validate", "devices"])
def test_what_is_asked_before_the_first_run(home: Path, tmp_path: Path, command: str) -> None:
    spec = tmp_path / "spec.json"
    spec.write_text(json.dumps(SPEC))
    done = CliRunner().invoke(cli, [command] if command == "devices" else [command, str(spec)])
    assert (done.exit_code, done.stderr) == (0, "")
    assert not list(home.iterdir())


def test_the_format_of_an_export_need_not_be_said(home: Path) -> None:
    for given in ([], ["--csv"]):
        assert isinstance(CliRunner().invoke(cli, ["export", "nope", *given]).exception, SpecError)


@pytest.mark.parametrize("command", ["show", "entries", "disputes"])
def test_an_account_that_is_not_there_is_an_error(home: Path, command: str) -> None:
    done = CliRunner().invoke(cli, ["budget", command, "nosuch"])
    assert isinstance(done.exception, SpecError)
    assert "no such account" in str(done.exception)
    assert not list(home.iterdir())


@pytest.mark.parametrize("limit", ["0", "-1", "99999999999999999999"])
def test_a_number_of_entries_that_cannot_be_is_refused(home: Path, limit: str) -> None:
    done = CliRunner().invoke(cli, ["budget", "entries", "lab", "--limit", limit])
    assert done.exit_code == 2
    assert f"{limit} is not in the range" in done.stderr
