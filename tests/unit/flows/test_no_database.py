"""Commands where the database is not there: one line that names what the person can do about it."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from flows.cli import cli
from shotwise.errors import ShotwiseError, display_text
from shotwise.team import Team

NOWHERE = "postgresql+psycopg://nobody@127.0.0.1:1/shotwise"
H2 = """
problem: {kind: molecule, geometry: "H 0 0 0; H 0 0 0.7414"}
optimizer: {name: lbfgs, max_iterations: 20}
"""
COMMANDS = ["runs", "status", "budget", "show h2-1", "cancel h2-1", "resume h2-1", "devices", "submit SPEC"]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("DATABASE_URL", "PREFECT_API_URL"):
        monkeypatch.setenv(name, "")  # what a command sets is taken back
    monkeypatch.setenv("SHOTWISE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


def refusal(command: str, spec: Path | None = None) -> ShotwiseError:
    """The one line that a command ends with."""
    arguments = [str(spec) if word == "SPEC" else word for word in command.split()]
    with pytest.raises(ShotwiseError) as refused:
        CliRunner().invoke(cli, arguments, catch_exceptions=False, standalone_mode=False)
    assert len(str(refused.value).splitlines()) == 1
    return refused.value


@pytest.mark.parametrize("command", COMMANDS)
def test_a_team_that_is_down_is_what_is_said(home: Path, command: str) -> None:
    home.mkdir()
    Team("http://127.0.0.1:1/api", "http://127.0.0.1:2", NOWHERE).write(home)
    spec = home / "h2.yaml"
    spec.write_text(H2)
    error = refusal(command, spec)
    assert error.exit_code == 3
    told = f"SHOTWISE_HOME: its team is down (got {display_text(home)}); start it with `shotwise up`"
    assert str(error) == told


def test_an_address_of_ones_own_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", NOWHERE)
    error = refusal("runs")
    assert error.exit_code == 3
    assert str(error) == (
        f"DATABASE_URL: cannot be opened: Connection refused (got '{NOWHERE}'); "
        "check that it is reachable and writable"
    )


@pytest.mark.parametrize("command", ["runs", "budget set lab --usd 1", "up"])
@pytest.mark.parametrize(
    ("address", "problem"),
    [
        ("foo", "DATABASE_URL: not the address of a database (got 'foo'); write it as postgresql"),
        ("foo://bar/x", "DATABASE_URL: not the address of a database"),
        (
            "postgresql+psycopg2://me:secret@bar/x",
            "DATABASE_URL: its driver psycopg2 is not installed (got 'bar/x')",
        ),
        ("postgresql+psycopg://me:secret@bar:port/x", "DATABASE_URL: not the address of a database"),
    ],
)
def test_what_is_no_address_is_one_line(
    monkeypatch: pytest.MonkeyPatch, command: str, address: str, problem: str
) -> None:
    monkeypatch.setenv("DATABASE_URL", address)
    error = refusal(command)
    assert error.exit_code == 3
    assert str(error).startswith(problem)
    assert "secret" not in str(error)


@pytest.mark.parametrize(
    "command", ["runs", "status", "budget", "devices", "up", "down", "budget set lab --usd 1"]
)
@pytest.mark.parametrize("below", ["", "below"])
def test_a_home_that_is_a_file_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, below: str
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("SHOTWISE_HOME", str(tmp_path / "file" / below))
    error = refusal(command)
    assert error.exit_code == 3
    assert str(error).startswith(f"SHOTWISE_HOME: {tmp_path / 'file'} is not a folder (got ")


@pytest.mark.parametrize("kept", [b"", b"SQLite format 3\0"])
def test_a_damaged_journal_is_to_be_restored(home: Path, kept: bytes) -> None:
    home.mkdir()
    (home / "shotwise.db").write_bytes(kept + b"something else" * 100)
    error = refusal("runs")
    assert error.exit_code == 3
    assert str(error).endswith("; restore it from a backup, or name another folder")
