"""A database that cannot be opened, in the ledger's own words: it knows of no variable and of no folder."""

from pathlib import Path

import pytest

from ledger import Database, NoAddressError, NotOpenedError

NOWHERE = "postgresql+psycopg://nobody:secret@127.0.0.1:1/shotwise"


@pytest.fixture(autouse=True, params=["", NOWHERE])
def environment(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whatever it says."""
    monkeypatch.setenv("DATABASE_URL", request.param)
    monkeypatch.setenv("SHOTWISE_HOME", str(tmp_path / "state"))


def test_a_server_that_is_not_there() -> None:
    with pytest.raises(NotOpenedError) as refused:
        Database(NOWHERE)
    told = "postgresql+psycopg://nobody:***@127.0.0.1:1/shotwise"
    assert (refused.value.field, refused.value.address) == ("database", told)
    assert refused.value.cause == "cannot be opened: Connection refused"
    assert refused.value.unreachable


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "journal.db").write_text("something else" * 100)
    with pytest.raises(NotOpenedError) as refused:
        Database(f"sqlite:///{tmp_path / 'journal.db'}")
    assert refused.value.cause == "cannot be opened: file is not a database"
    assert not refused.value.unreachable


def test_what_is_no_address() -> None:
    with pytest.raises(NoAddressError, match=r"^database: not the address of a database \(got 'x'\)"):
        Database("foo://me:secret@x")
