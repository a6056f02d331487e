"""`shotwise devices`: a table that stays a table whatever a device answers, and the reasons below it."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from backends.fleet import SANDBOX_URL
from backends.sandbox.connection import KEY_VARIABLE
from flows.cli import cli
from flows.cli_devices import _in_short


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOTWISE_HOME", str(tmp_path))
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.setenv(SANDBOX_URL, "http://127.0.0.1:9")  # nobody answers there
    monkeypatch.setenv(KEY_VARIABLE, "a key")


def test_why_a_device_does_not_answer_stands_below_the_table_once() -> None:
    said = CliRunner().invoke(cli, ["devices"], catch_exceptions=False).stdout
    lines = said.rstrip().splitlines()
    (told,) = [line for line in lines if "refused" in line]
    assert told == lines[-1]
    silent = [line.split()[0] for line in lines if "no usable answer" in line]
    assert len(silent) > 1
    assert told.startswith(f"{', '.join(silent)}: ConnectError: ")


def test_json_has_both() -> None:
    rows = json.loads(CliRunner().invoke(cli, ["devices", "--json"], catch_exceptions=False).stdout)
    (row,) = [row for row in rows if row["name"] == "sandbox-ideal"]
    assert row["health"] == "no usable answer"
    assert "refused" in row["why"]
    assert all("why" not in row for row in rows if row["health"] == "ok")


@pytest.mark.parametrize(
    ("health", "short"),
    [
        ("ok", "ok"),
        ("quarantined: by hand", "quarantined: by hand"),
        ("its last 3 jobs failed; left alone for another 45 s", "its last 3 jobs failed"),
        ("calibration holds a value that is no probability", "calibration holds a value tha..."),
    ],
)
def test_health_is_short(health: str, short: str) -> None:
    assert _in_short(health) == short
