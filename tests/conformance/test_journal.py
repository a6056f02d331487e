"""The journal's promises, on SQLite and on PostgreSQL."""

import dataclasses
import hashlib

import pytest
from sqlalchemy import text, update

from ledger import (
    Database,
    FreeJob,
    IterationRecord,
    JobKey,
    Journal,
    Lease,
    NewRun,
    now_us,
)
from ledger.tables import checkpoints, metadata, runs
from shotwise.errors import LeaseLostError, RunBusyError, RunFailedError, SpecError


@pytest.fixture
def journal(database: Database) -> Journal:
    return Journal(database)


def new_run(journal: Journal) -> str:
    return journal.create_run(
        NewRun(name="h2", kind="molecule", spec_json="{}", problem_sha256="0" * 64, versions_json="{}")
    )


def record(iteration: int, energy: float = -1.0) -> IterationRecord:
    return IterationRecord(iteration, 1_000 + iteration, energy, 0.1, None, 0.5, 3, 100, 0, b"\0" * 8)


def someone_elsewhere_holds(lease: Lease) -> None:
    """Make the lease look like that of another machine's process, whose death cannot be seen from here."""
    with lease.database.write() as connection:
        connection.execute(update(runs).values(holder="another-host:boot:1:1"))


def test_migrations_make_the_tables_that_the_code_uses(database: Database) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    with database.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_opening_again_changes_nothing(database: Database) -> None:
    new_run(Journal(database))
    again = Database(database.engine.url.render_as_string(hide_password=False))
    assert len(Journal(again).all_runs()) == 1
    again.close()


def test_iterations_and_checkpoint_come_back_as_committed(journal: Journal) -> None:
    lease = journal.acquire(new_run(journal))
    assert lease.restore() is None
    lease.commit([record(0), record(1)], iteration=2, state=b"two", active_us=7)
    lease.commit([record(2)], iteration=3, state=b"three", active_us=9)
    assert lease.restore() == (3, b"three", 9)
    assert journal.iterations(lease.run_id) == [record(0), record(1), record(2)]
    assert journal.iterations(lease.run_id, after=1) == [record(2)]


def test_runs_are_listed_oldest_first(journal: Journal) -> None:
    made = [new_run(journal) for _ in range(3)]
    assert [r.run_id for r in journal.all_runs()] == made


def test_an_unknown_run_is_an_error_of_the_user(journal: Journal) -> None:
    for call in (journal.run, journal.acquire):
        with pytest.raises(SpecError, match="no such run"):
            call("nope-0")


def test_a_second_driver_is_refused(journal: Journal) -> None:
    run_id = new_run(journal)
    lease = journal.acquire(run_id)
    with pytest.raises(RunBusyError, match="another process"):
        journal.acquire(run_id)
    with pytest.raises(RunBusyError):
        journal.check_free(run_id)
    lease.finish(state="interrupted", reason=None, result_json=None)
    journal.check_free(run_id)
    journal.acquire(run_id)


def test_a_dead_drivers_run_is_taken_over_at_once(journal: Journal) -> None:
    lease = journal.acquire(new_run(journal))
    with journal.database.write() as connection:
        holder = connection.execute(text("SELECT holder FROM runs")).scalar_one()
        host_and_boot = holder.rsplit(":", 2)[0]
        connection.execute(update(runs).values(holder=f"{host_and_boot}:{2**22 + 1}:12345"))
    assert journal.acquire(lease.run_id).fence == lease.fence + 1


@pytest.mark.parametrize("place", ["another-boot+4026531836", "-"])
def test_a_driver_of_a_host_of_this_name_may_live(journal: Journal, place: str) -> None:
    """Two containers may share a name and a kernel: their process ids say nothing here."""
    lease = journal.acquire(new_run(journal))
    with journal.database.write() as connection:
        holder = connection.execute(text("SELECT holder FROM runs")).scalar_one()
        host, _, pid, start = holder.rsplit(":", 3)
        connection.execute(update(runs).values(holder=f"{host}:{place}:{pid}:{start}"))
    with pytest.raises(RunBusyError):
        journal.acquire(lease.run_id)


def test_a_lease_of_a_clock_that_was_far_ahead_is_over(journal: Journal) -> None:
    lease = journal.acquire(new_run(journal))
    someone_elsewhere_holds(lease)
    with journal.database.write() as connection:
        connection.execute(update(runs).values(lease_until_us=now_us() + 24 * 3600 * 1_000_000))
    assert not journal.is_driven(lease.run_id)
    assert journal.acquire(lease.run_id).fence > lease.fence


def test_a_driver_elsewhere_keeps_its_run_until_its_lease_expires(journal: Journal) -> None:
    lease = journal.acquire(new_run(journal))
    someone_elsewhere_holds(lease)
    with pytest.raises(RunBusyError):
        journal.acquire(lease.run_id)
    with journal.database.write() as connection:
        connection.execute(update(runs).values(lease_until_us=1))
    journal.acquire(lease.run_id)


def test_a_stale_driver_can_write_nothing(journal: Journal) -> None:
    stale = journal.acquire(new_run(journal))
    stale.commit([record(0)], iteration=1, state=b"one", active_us=0)
    with journal.database.write() as connection:
        connection.execute(update(runs).values(lease_until_us=1))
    fresh = journal.acquire(stale.run_id)
    key = JobKey(stale.run_id, 1, 0)
    writes = [
        lambda: stale.commit([record(1, -9.0)], iteration=2, state=b"evil", active_us=0),
        lambda: stale.record(FreeJob(key, "jax", 1, b"evil", 0)),
        lambda: stale.record_flow_run("evil"),
        lambda: stale.finish(state="completed", reason=None, result_json="{}"),
        stale.renew,
        stale.restore,
    ]
    for write in writes:
        with pytest.raises(LeaseLostError):
            write()
    assert rows_of(journal) == []
    assert fresh.restore() == (1, b"one", 0)
    assert journal.iterations(stale.run_id) == [record(0)]
    assert journal.run(stale.run_id).state == "running"


def test_a_damaged_checkpoint_gives_way_to_the_one_before(journal: Journal) -> None:
    lease = journal.acquire(new_run(journal))
    lease.commit([record(0)], iteration=1, state=b"one", active_us=0)
    lease.commit([record(1)], iteration=2, state=b"two", active_us=0)
    with journal.database.write() as connection:
        connection.execute(update(checkpoints).where(checkpoints.c.iteration == 2).values(state=b"torn"))
    assert lease.restore() == (1, b"one", 0)
    assert journal.iterations(lease.run_id) == [record(0)]
    lease.commit([record(1)], iteration=2, state=b"two", active_us=0)
    assert lease.restore() == (2, b"two", 0)


def test_when_every_checkpoint_is_damaged_the_run_says_so(journal: Journal) -> None:
    lease = journal.acquire(new_run(journal))
    lease.commit([record(0)], iteration=1, state=b"one", active_us=0)
    with journal.database.write() as connection:
        connection.execute(update(checkpoints).values(state=b"torn"))
    with pytest.raises(RunFailedError, match="every checkpoint is damaged"):
        lease.restore()
    assert journal.iterations(lease.run_id) == [record(0)]


def test_what_was_measured_for_nothing_is_entered_with_its_iteration(journal: Journal) -> None:
    lease = journal.acquire(new_run(journal))
    job = FreeJob(JobKey(lease.run_id, 0, 0), "jax", 10, b"raw", began_us=7)
    lease.commit([record(0)], iteration=1, state=b"one", active_us=0, jobs=[job])
    assert rows_of(journal) == [(job.key.token, "jax", "done", 10, 0, 7, b"raw", digest(b"raw"))]
    lease.record(dataclasses.replace(job, outcome=b"row"))
    assert [row[6:] for row in rows_of(journal)] == [(b"row", digest(b"row"))], (
        "entering it again replaces it"
    )


def rows_of(journal: Journal) -> list[tuple]:
    columns = "token, device, state, shots, cost_micro_usd, started_us, outcome, sha256"
    with journal.database.read() as connection:
        return [tuple(row) for row in connection.execute(text(f"SELECT {columns} FROM jobs"))]


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_tokens_tell_every_piece_of_work_apart() -> None:
    keys = [JobKey(run, i, b, a) for run in ("a", "a-1") for i in (0, 1, 11) for b in (0, 1) for a in (0, 1)]
    assert len({key.token for key in keys}) == len(keys)
    assert all(len(key.token) == 64 for key in keys)


def test_a_failed_transaction_leaves_nothing(journal: Journal) -> None:
    lease = journal.acquire(new_run(journal))
    bad = dataclasses.replace(record(1), parameters=None)  # pyright: ignore[reportArgumentType]
    with pytest.raises(Exception, match=r"(?i)null"):
        lease.commit([record(0), bad], iteration=2, state=b"two", active_us=0)
    assert journal.iterations(lease.run_id) == []
    assert lease.restore() is None
