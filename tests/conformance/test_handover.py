"""A journal and ledger handed over: everything arrives, once, however often the process is killed."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from ledger import (
    Amount,
    BudgetExceededError,
    Database,
    DeviceHealth,
    Journal,
    Ledger,
    NewRun,
    Probe,
    Submissions,
    handover,
)
from ledger.handover import Extent, check_undriven, extent, hand_over
from ledger.tables import metadata
from shotwise.errors import CannotRunError, RunBusyError, RunFailedError
from tests.databases import new_journal
from tests.unit.tasks.journals import enter_run

NEW = NewRun(name="h2", kind="molecule", spec_json="{}", problem_sha256="", versions_json="{}")
PROBE = Probe("a", 1, 1000, 0.2, 0.5, "bad", "readout")  # pyright: ignore[reportArgumentType]


@pytest.fixture
def old(tmp_path: Path) -> Iterator[Database]:
    """A folder's own journal with something in every table that a single user fills."""
    old = new_journal(tmp_path / "old.db")
    enter_run(Journal(old), "h2", [-1.0, -1.1], micro_usd=200_000)
    ledger = Ledger(old)
    ledger.set_limit("lab", micro_usd=500_000)
    ledger.reserve("out", "lab/p", Amount(10, 50_000))
    interrupted = Submissions(old).enter(NEW, deployment="vqe/on-demand", queue="low", flow_run_id="f")
    Submissions(old).ask_to_cancel(interrupted)
    DeviceHealth(old).enter(PROBE, quarantined=True)
    yield old
    old.close()


def everything(database: Database) -> dict[str, list[dict[str, Any]]]:
    with database.read() as connection:
        return {
            table.name: [
                dict(row) for row in connection.execute(select(table).order_by(*table.primary_key)).mappings()
            ]
            for table in metadata.sorted_tables
        }


def test_everything_arrives_and_the_limit_holds(old: Database, database: Database) -> None:
    before = everything(old)
    assert extent(old) == Extent(2, 3)
    assert hand_over(old, database)
    assert everything(database) == before
    ledger = Ledger(database)
    assert ledger.audit() == []
    with pytest.raises(BudgetExceededError):
        ledger.reserve("more", "lab/p", Amount(1, 50_001))
    ledger.reserve("rest", "lab/p", Amount(1, 50_000))
    ledger.settle("out", Amount(10, 40_000))
    DeviceHealth(database).enter(PROBE, quarantined=False)
    assert ledger.audit() == [], "new rows are numbered after the old"


def test_the_old_journal_refuses_writes_and_can_be_read(old: Database, database: Database) -> None:
    assert hand_over(old, database)
    for write in (
        lambda: Journal(old).create_run(NEW),
        lambda: Ledger(old).reserve("more", "lab/p", Amount(1, 1)),
        lambda: Ledger(old).settle("out", Amount(10, 40_000)),
        lambda: DeviceHealth(old).set("b", quarantined=True, reason="by hand"),
    ):
        with pytest.raises(CannotRunError, match=r"handed over.*shotwise up"):
            write()
    assert len(Journal(old).all_runs()) == 2


def test_a_driven_run_stays_where_it_is(old: Database, database: Database) -> None:
    run_id = Journal(old).create_run(NEW)
    lease = Journal(old).acquire(run_id)
    for refused in (lambda: check_undriven(old), lambda: hand_over(old, database)):
        with pytest.raises(RunBusyError, match=f"{run_id}.*shotwise up"):
            refused()
    assert not extent(database)
    lease.finish(state="interrupted", reason=None, result_json=None)  # pyright: ignore[reportArgumentType]
    assert hand_over(old, database)
    Journal(database).acquire(run_id)


@pytest.mark.parametrize("copied", [0, 3, 8])
def test_what_fails_on_the_way_leaves_both_as_they_were(
    old: Database, database: Database, monkeypatch: pytest.MonkeyPatch, copied: int
) -> None:
    copy, done = handover._copy, []

    def fail(*arguments: Any) -> None:
        if len(done) == copied:
            raise OSError("power cut")
        done.append(copy(*arguments))

    before = everything(old)
    monkeypatch.setattr(handover, "_copy", fail)
    with pytest.raises(OSError, match="power cut"):
        hand_over(old, database)
    assert not any(everything(database).values())
    Journal(old).create_run(NEW, run_id="later")
    monkeypatch.undo()
    assert hand_over(old, database)
    assert len(everything(database)["runs"]) == len(before["runs"]) + 1


def test_killed_before_the_copy_is_committed_it_is_done_again(
    old: Database, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = everything(old)
    monkeypatch.setattr(handover, "_copy", lambda *_: (_ for _ in ()).throw(OSError))
    monkeypatch.setattr(handover, "_thaw", lambda _: None)
    with pytest.raises(OSError):  # noqa: PT011
        hand_over(old, database)
    with pytest.raises(CannotRunError, match="handed over"):
        Journal(old).create_run(NEW)
    monkeypatch.undo()
    assert hand_over(old, database)
    assert everything(database) == before


def test_again_it_changes_nothing(old: Database, database: Database) -> None:
    assert hand_over(old, database)
    Journal(database).create_run(NEW)
    before = everything(database)
    assert hand_over(old, database), "it was killed before it could say so"
    assert everything(database) == before


def test_a_database_in_use_is_left_alone(old: Database, database: Database) -> None:
    Ledger(database).open_account("theirs")
    before = everything(database)
    assert not hand_over(old, database)
    assert everything(database) == before
    Journal(old).create_run(NEW)


def test_books_that_differ_are_not_handed_over(old: Database, database: Database) -> None:
    with old.write() as connection:
        connection.exec_driver_sql("UPDATE accounts SET posted_micro_usd = 1 WHERE path = 'lab/p'")
    with pytest.raises(RunFailedError, match="lab/p: posted"):
        hand_over(old, database)
    assert not extent(database)
    Journal(old).create_run(NEW)
