"""Devices as an installation opens them."""

from pathlib import Path

import pytest

from backends.catalog import LocalProvider
from backends.fleet import SANDBOX_URL, Fleet
from backends.sandbox.connection import KEY_VARIABLE
from backends.sandbox.process import SandboxProcess
from ledger import Database
from shotwise.errors import CannotRunError, UnreachableError
from tasks.fleet import open_fleet
from tests.unit.tasks.buying import KEY


def test_what_a_block_opened_is_closed_after_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOTWISE_HOME", str(tmp_path))
    closed = []
    monkeypatch.setattr(LocalProvider, "close", lambda self: closed.append(self.name))
    with open_fleet(["sim-lima"]) as fleet:
        fleet.provider("sim-lima")
        assert closed == []
    assert closed == ["sim-lima"]


def test_a_device_that_the_sandbox_does_not_have_is_told_as_unknown(
    sandbox: SandboxProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, KEY.get_secret_value())
    monkeypatch.setenv(SANDBOX_URL, sandbox.url)
    with open_fleet() as fleet, pytest.raises(CannotRunError, match="no such device") as caught:
        fleet.description("sandbox-idael")
    assert not isinstance(caught.value, UnreachableError)
    assert "did you mean sandbox-ideal" in str(caught.value)
    assert "HTTP" not in str(caught.value)


def test_reconciling_leaves_no_device_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from flows.reconcile import compare_records

    monkeypatch.setenv("SHOTWISE_HOME", str(tmp_path))
    monkeypatch.delenv("DATABASE_URL", raising=False)
    Database(f"sqlite:///{tmp_path / 'shotwise.db'}").close()
    closed = []
    monkeypatch.setattr(Fleet, "close", lambda self: closed.append(self))
    assert compare_records.fn(correct=False) == []
    assert len(closed) == 1
