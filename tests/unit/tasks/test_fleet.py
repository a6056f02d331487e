"""Devices as an installation opens them."""

from pathlib import Path

import pytest

from backends.catalog import LocalProvider
from backends.fleet import Fleet
from ledger import Database
from tasks.fleet import open_fleet


def test_what_a_block_opened_is_closed_after_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOTWISE_HOME", str(tmp_path))
    closed = []
    monkeypatch.setattr(LocalProvider, "close", lambda self: closed.append(self.name))
    with open_fleet(["sim-lima"]) as fleet:
        fleet.provider("sim-lima")
        assert closed == []
    assert closed == ["sim-lima"]


def test_reconciling_leaves_no_device_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from flows.reconcile import compare_records

    monkeypatch.setenv("SHOTWISE_HOME", str(tmp_path))
    monkeypatch.delenv("DATABASE_URL", raising=False)
    Database(f"sqlite:///{tmp_path / 'shotwise.db'}").close()
    closed = []
    monkeypatch.setattr(Fleet, "close", lambda self: closed.append(self))
    assert compare_records.fn(correct=False) == []
    assert len(closed) == 1
