"""Buying while storage, clock or process fail: one clear line, nothing lost, nothing bought twice."""

import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from ledger import (
    Amount,
    Database,
    JobBook,
    JobKey,
    Journal,
    Ledger,
    NotOpenedError,
    StorageError,
    jobs_of,
    records,
)
from shotwise.errors import LeaseLostError
from tasks.durable import Buyer
from tasks.reconcile import DifferenceKind, reconcile
from tests.unit.tasks.buying import IDEAL, NO_TOKENS, again, assert_exactly_once, plan

STEPS = ["intend", "submitted", "done"]


def file_of(database: Database) -> Path:
    return Path(database.engine.url.database or "")


def pragma(database: Database, text: str) -> None:
    """On the connection that the pool will hand out next."""
    with database.engine.connect() as connection:
        connection.exec_driver_sql(f"PRAGMA {text}")


@contextmanager
def no_room(database: Database) -> Iterator[None]:
    """No file of this process can grow beyond what the log has now: the kernel refuses every longer write."""
    size = max(file_of(database).with_name("journal.db-wal").stat().st_size, 1)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def no_pages(database: Database) -> Iterator[None]:
    """The database file may not grow by another page: SQLite's own "disk is full"."""
    with database.engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
    pragma(database, f"max_page_count={pages}")
    try:
        yield
    finally:
        pragma(database, "max_page_count=1000000")


@contextmanager
def read_only(database: Database) -> Iterator[None]:
    pragma(database, "query_only=ON")
    try:
        yield
    finally:
        pragma(database, "query_only=OFF")


@contextmanager
def locked(database: Database) -> Iterator[None]:
    """Another program holds the database and does not let go."""
    pragma(database, "busy_timeout=50")
    with closing(sqlite3.connect(file_of(database), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")
    pragma(database, "busy_timeout=30000")


class FailingBook(JobBook):
    """A journal whose storage fails at one of its steps."""

    fails_at = ""
    fault = staticmethod(no_room)

    def intend(self, *args, **named) -> None:
        with self._at("intend"):
            super().intend(*args, **named)

    def mark_submitted(self, *args) -> None:
        with self._at("submitted"):
            super().mark_submitted(*args)

    def mark_done(self, *args) -> None:
        with self._at("done"):
            super().mark_done(*args)

    @contextmanager
    def _at(self, step: str) -> Iterator[None]:
        if step != self.fails_at:
            yield
            return
        with self.fault(self.lease.database):
            yield


def failing(buyer: Buyer, step: str, fault) -> Buyer:
    book = FailingBook(buyer.book.lease, buyer.book.account)
    book.fails_at, book.fault = step, fault
    return replace(buyer, book=book)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (no_room, "see to its disk"),
        (read_only, "make it writable"),
        (locked, "end the program that holds it"),
    ],
)
def test_storage_that_fails_at_any_step_is_one_clear_line_and_costs_nothing(
    buyer: Buyer, step: str, fault, words: str
) -> None:
    database = buyer.book.lease.database
    with pytest.raises(StorageError, match=words) as failed:
        failing(buyer, step, fault).buy(0, 0, IDEAL, plan())
    assert failed.value.exit_code == 4
    assert "\n" not in str(failed.value)
    assert len(jobs_of(database)) == (0 if step == "intend" else 1)
    assert again(buyer).buy(0, 0, IDEAL, plan()).outcome.counts.sum() == 600
    assert_exactly_once(buyer)
    assert Ledger(database).balance("tenant").held == Amount()


def test_a_full_disk_says_so_and_the_result_that_did_not_fit_is_fetched_again(buyer: Buyer) -> None:
    database = buyer.book.lease.database
    book = buyer.book
    key = JobKey(book.lease.run_id, 5, 0)
    book.intend(key, device=IDEAL, reserved=Amount(1, 1))
    with no_pages(database), pytest.raises(StorageError, match=r"disk is full.*free space"):
        book.mark_done(key, os.urandom(1 << 20), Amount(1, 1))
    assert Ledger(database).find(key.token).reserved == Amount(1, 1)
    assert [job.outcome for job in jobs_of(database)] == [None]
    book.mark_done(key, b"fits", Amount(1, 1))


def test_a_lock_that_goes_away_is_waited_for(buyer: Buyer) -> None:
    database = buyer.book.lease.database
    with closing(sqlite3.connect(file_of(database), isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        release = threading.Timer(0.3, other.execute, ["ROLLBACK"])
        release.start()
        assert other.in_transaction
        buyer.buy(0, 0, IDEAL, plan())
        release.join()
    assert_exactly_once(buyer)


def test_a_database_that_cannot_be_written_is_refused_when_opened(tmp_path: Path) -> None:
    sqlite3.connect(tmp_path / "empty.db").close()
    url = f"sqlite:///file:{tmp_path / 'empty.db'}?mode=ro&uri=true"
    with pytest.raises(NotOpenedError, match=r"cannot be opened: .*readonly"):
        Database(url)


@pytest.mark.parametrize("device", [IDEAL, NO_TOKENS])
def test_a_journal_restored_from_an_old_backup_buys_nothing_again(buyer: Buyer, device: str) -> None:
    """Its tokens are the same, so the provider knows what the journal has forgotten."""
    database = buyer.book.lease.database
    buyer.buy(0, 0, device, plan(seed=4))
    with (
        closing(sqlite3.connect(file_of(database))) as now,
        closing(sqlite3.connect(file_of(database).with_name("backup.db"))) as backup,
    ):
        now.backup(backup)
    first = buyer.buy(1, 0, device, plan())
    (_, forgotten) = jobs_of(database)
    database.engine.dispose()
    for name in ("journal.db-wal", "journal.db-shm"):
        file_of(database).with_name(name).unlink(missing_ok=True)
    shutil.copy(file_of(database).with_name("backup.db"), file_of(database))
    assert len(jobs_of(database)) == 1
    found = reconcile(database, buyer.fleet.provider)
    lost = [d for d in found if d.note == forgotten.vendor_job_id]  # not every bill tells tokens
    assert [d.kind for d in lost] == [DifferenceKind.NOT_IN_JOURNAL]
    assert lost[0].other_micro_usd == forgotten.cost_micro_usd
    second = again(buyer).buy(1, 0, device, plan())
    assert second.outcome.to_bytes() == first.outcome.to_bytes()
    assert jobs_of(database)[1].vendor_job_id == forgotten.vendor_job_id
    assert_exactly_once(buyer)


def test_a_log_torn_in_the_middle_of_a_commit_goes_on_from_the_last_whole_one(
    buyer: Buyer, tmp_path: Path
) -> None:
    """The machine lost power while the end of the log was written: bytes are missing or wrong there."""
    database = buyer.book.lease.database
    buyer.buy(0, 0, IDEAL, plan())
    (job,) = jobs_of(database)
    wal = file_of(database).with_name("journal.db-wal").read_bytes()
    shutil.copy(file_of(database), tmp_path / "torn.db")
    for cut in (100, 5_000):
        (tmp_path / "torn.db-wal").write_bytes(wal[:-cut] + os.urandom(50))
        (tmp_path / "torn.db-shm").unlink(missing_ok=True)
        torn = Database(f"sqlite:///{tmp_path / 'torn.db'}")
        assert Ledger(torn).audit() == []
        left = jobs_of(torn)
        assert left != [job], "nothing was torn off"
        torn.close()


@pytest.mark.parametrize("jump_s", [-7200, 7200])
def test_a_clock_that_jumps_neither_loses_the_run_nor_buys_twice(
    buyer: Buyer, monkeypatch: pytest.MonkeyPatch, jump_s: int
) -> None:
    real = time.time_ns
    database = buyer.book.lease.database
    buyer.buy(0, 0, IDEAL, plan())
    monkeypatch.setattr(records.time, "time_ns", lambda: real() + jump_s * 10**9)
    buyer.buy(1, 0, IDEAL, plan())
    first, second = jobs_of(database)
    assert abs((second.created_us - first.created_us) / 1e6 - jump_s) < 600  # the fault came
    assert_exactly_once(buyer)


def test_a_clock_that_jumps_ahead_hands_the_run_over_and_the_first_driver_is_fenced_off(
    buyer: Buyer, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = time.time_ns
    lease = buyer.book.lease
    monkeypatch.setattr(records.time, "time_ns", lambda: real() + 7200 * 10**9)
    taken = Journal(lease.database).acquire(lease.run_id)
    with pytest.raises(LeaseLostError):
        buyer.buy(0, 0, IDEAL, plan())
    assert jobs_of(lease.database) == []
    replace(again(buyer), book=JobBook(taken, buyer.book.account)).buy(0, 0, IDEAL, plan())
    assert_exactly_once(buyer)


DRIVER = """
import sys, time
from ledger import Amount, Database, JobBook, JobKey, Journal
from shotwise.errors import LeaseLostError
url, run_id, account = sys.argv[1:]
lease = Journal(Database(url)).acquire(run_id, lease_s=0.2)
print("driving", flush=True)
sys.stdin.readline()  # stopped here, for longer than its lease
try:
    JobBook(lease, account).intend(JobKey(run_id, 0, 0), device="sandbox-ideal", reserved=Amount(600, 1))
except LeaseLostError:
    sys.exit(42)
"""


def test_a_driver_stopped_for_longer_than_its_lease_is_fenced_off_when_it_wakes(buyer: Buyer) -> None:
    lease = buyer.book.lease
    lease.finish(state="interrupted", reason=None, result_json=None)
    url = str(lease.database.engine.url)
    with subprocess.Popen(
        [sys.executable, "-c", DRIVER, url, lease.run_id, buyer.book.account],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        text=True,
    ) as stopped:
        assert stopped.stdin is not None
        assert stopped.stdout is not None
        assert stopped.stdout.readline() == "driving\n"
        stopped.send_signal(signal.SIGSTOP)
        _, status = os.waitpid(stopped.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        time.sleep(0.3)
        taken = Journal(lease.database).acquire(lease.run_id)
        replace(again(buyer), book=JobBook(taken, buyer.book.account)).buy(0, 0, IDEAL, plan())
        stopped.send_signal(signal.SIGCONT)
        stopped.stdin.write("go on\n")
        stopped.stdin.flush()
        assert stopped.wait(60) == 42
    assert_exactly_once(buyer)
