"""What is wrong with a setting is said before a run is entered."""

from pathlib import Path

import pytest

from flows import session
from ledger import Database, Journal
from shotwise.errors import SpecError
from shotwise.home import Home
from shotwise.spec import validate

SPEC = {"problem": {"kind": "maxcut", "edges": [[0, 1]]}}


class Server:
    """Stands in for Prefect's; nothing is entered before it is waited for."""

    was_started_here = True

    def apply_environment(self) -> None: ...

    def wait(self) -> None:
        pytest.fail("on the way to enter a run")

    def stop(self) -> None: ...


def test_a_slip_in_the_telemetry_leaves_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session.PrefectServer, "start", lambda home: Server())
    monkeypatch.setattr(session, "enable_compilation_cache", lambda home: None)
    monkeypatch.setenv("SHOTWISE_TELEMETRY", "bogus")
    monkeypatch.delenv("DATABASE_URL", raising=False)
    home = Home(tmp_path)
    with pytest.raises(SpecError, match="SHOTWISE_TELEMETRY: unknown"):
        session.drive(home, validate(SPEC), None, None)
    assert Journal(Database(home.database_url)).all_runs() == []
