"""The ledger's promises, on SQLite and on PostgreSQL."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager

import pytest
from sqlalchemy import Connection, create_engine, insert, select, text, update
from sqlalchemy.exc import DBAPIError, IntegrityError, InvalidRequestError

from ledger import (
    Amount,
    BudgetExceededError,
    Currency,
    Database,
    EntryKind,
    Ledger,
    LimitTooLowError,
    ReservationError,
    ReservationState,
    StorageError,
    early_release,
    reservations,
)
from ledger.amounts import AMOUNT_MAX, NOTHING, TOTAL_MAX
from ledger.tables import accounts, entries
from shotwise.errors import SpecError

RUN = "acme/h2/run-1"
OTHER = "acme/h2/run-2"


@pytest.fixture
def ledger(database: Database) -> Iterator[Ledger]:
    ledger = Ledger(database)
    ledger.open_account(RUN)
    ledger.open_account(OTHER)
    yield ledger
    assert ledger.audit() == [], "whatever a test did, the books are right"


def kinds(ledger: Ledger, token: str) -> list[EntryKind]:
    return [entry.kind for entry in reversed(ledger.entries("acme")) if entry.token == token]


def everything(ledger: Ledger) -> object:
    return ledger.balances(), ledger.entries("acme", limit=1000)


def test_a_reservation_is_held_at_every_level(ledger: Ledger) -> None:
    made = ledger.reserve("t", RUN, Amount(100, 300_000))
    assert made.state is ReservationState.HELD
    assert ledger.find("t") == made
    assert {b.account: b.held for b in ledger.balances()} == {
        "acme": Amount(100, 300_000),
        "acme/h2": Amount(100, 300_000),
        RUN: Amount(100, 300_000),
        OTHER: NOTHING,
    }


@pytest.mark.parametrize("tight", ["acme", "acme/h2", RUN])
def test_one_limit_refuses_at_every_level(ledger: Ledger, tight: str) -> None:
    ledger.set_limit(tight, shots=10, micro_usd=100)
    ledger.reserve("fits", RUN, Amount(10, 100))
    before = everything(ledger)
    with pytest.raises(BudgetExceededError) as refused:
        ledger.reserve("more", RUN, Amount(0, 1))
    assert (refused.value.account, refused.value.currency, refused.value.left) == (tight, "micro_usd", 0)
    assert everything(ledger) == before
    with pytest.raises(ReservationError, match="nothing is reserved"):
        ledger.find("more")


def test_the_same_reservation_again_is_the_same_reservation(ledger: Ledger) -> None:
    ledger.set_limit("acme", shots=5, micro_usd=5)
    made = ledger.reserve("t", RUN, Amount(5, 5))
    before = everything(ledger)
    assert ledger.reserve("t", RUN, Amount(5, 5)) == made, "although nothing is left"
    for account, amount in ((RUN, Amount(5, 4)), (OTHER, Amount(5, 5)), (RUN, Amount(6, 5))):
        with pytest.raises(ReservationError, match="reserved 5 shots"):
            ledger.reserve("t", account, amount)
    assert everything(ledger) == before
    ledger.settle("t", Amount(1, 1))
    assert ledger.reserve("t", RUN, Amount(5, 5)).state is ReservationState.SETTLED


def test_settling_spends_the_actual_and_gives_the_rest_back(ledger: Ledger) -> None:
    ledger.set_limit("acme", shots=100, micro_usd=100)
    ledger.reserve("t", RUN, Amount(100, 100))
    done = ledger.settle("t", Amount(40, 60))
    assert (done.state, done.spent, done.disputed) == (ReservationState.SETTLED, Amount(40, 60), NOTHING)
    assert ledger.find("t") == done
    for account in ("acme", "acme/h2", RUN):
        assert (ledger.balance(account).held, ledger.balance(account).posted) == (NOTHING, Amount(40, 60))
    ledger.reserve("u", RUN, Amount(60, 40))


def test_a_reservation_ends_once(ledger: Ledger) -> None:
    for token in ("settled", "released"):
        ledger.reserve(token, RUN, Amount(10, 10))
    settled, released = ledger.settle("settled", Amount(3, 3)), ledger.release("released")
    before = everything(ledger)
    assert ledger.settle("settled", Amount(3, 3)) == settled
    assert ledger.release("released") == released
    for call in (
        lambda: ledger.settle("settled", Amount(3, 4)),
        lambda: ledger.settle("settled", Amount(30, 30)),
        lambda: ledger.release("settled"),
        lambda: ledger.settle("released", Amount(10, 10)),
        lambda: ledger.settle("released", NOTHING),
    ):
        with pytest.raises(ReservationError, match="before, now"):
            call()
    for call in (lambda: ledger.settle("none", NOTHING), lambda: ledger.release("none")):
        with pytest.raises(ReservationError, match="nothing is reserved"):
            call()
    assert everything(ledger) == before


def test_a_bill_above_the_promise_is_charged_where_there_is_room(ledger: Ledger) -> None:
    ledger.set_limit("acme", micro_usd=100)
    ledger.reserve("t", RUN, Amount(10, 60))
    done = ledger.settle("t", Amount(12, 90))
    assert (done.spent, done.disputed) == (Amount(12, 90), NOTHING)
    assert ledger.find("t") == done
    assert kinds(ledger, "t") == ["reserve", "settle", "excess"]
    before = everything(ledger)
    assert ledger.settle("t", Amount(12, 90)) == done
    assert everything(ledger) == before


def test_a_bill_above_every_limit_is_disputed_and_never_lost(ledger: Ledger) -> None:
    ledger.set_limit("acme", micro_usd=80)
    ledger.reserve("t", RUN, Amount(10, 60))
    done = ledger.settle("t", Amount(12, 90))
    assert (done.spent, done.disputed) == (Amount(10, 60), Amount(2, 30))
    assert ledger.find("t") == ledger.settle("t", Amount(12, 90)) == done
    assert kinds(ledger, "t") == ["reserve", "settle", "disputed"]
    for account in ("acme", "acme/h2", RUN):
        assert (ledger.balance(account).posted, ledger.balance(account).disputed) == (
            Amount(10, 60),
            Amount(2, 30),
        )
    (opened,) = ledger.open_disputes("acme")
    assert (opened.token, opened.step, opened.amount) == ("t", "excess", Amount(2, 30))
    assert "left 0.00002 USD" in opened.note


def test_a_dispute_takes_its_room_from_new_promises_at_every_level(ledger: Ledger) -> None:
    ledger.set_limit("acme", micro_usd=100)
    ledger.reserve("t", RUN, Amount(0, 60))
    ledger.settle("t", Amount(0, 130))  # 70 above the promise, room for 40: disputed
    assert ledger.balance("acme").disputed == Amount(0, 70)
    assert ledger.balance("acme").left(Currency.MICRO_USD) == 0
    with pytest.raises(BudgetExceededError):
        ledger.reserve("u", OTHER, Amount(0, 1))
    ledger.reserve("free", OTHER, Amount(5, 0))
    ledger.resolve("t", "excess", accept=False)
    ledger.reserve("u", OTHER, Amount(0, 40))


def test_a_dispute_ends_once_accepted_or_waived(ledger: Ledger) -> None:
    ledger.set_limit("acme", micro_usd=80)
    ledger.reserve("t", RUN, Amount(10, 60))
    ledger.settle("t", Amount(10, 90))
    with pytest.raises(BudgetExceededError):
        ledger.resolve("t", "excess", accept=True)
    assert len(ledger.open_disputes(RUN)) == 1
    ledger.set_limit("acme", micro_usd=90)
    done = ledger.resolve("t", "excess", accept=True)
    assert (done.spent, done.disputed) == (Amount(10, 90), NOTHING)
    assert ledger.resolve("t", "excess", accept=True) == done
    with pytest.raises(ReservationError, match="the other way"):
        ledger.resolve("t", "excess", accept=False)
    ledger.correct("t", "late", Amount(0, 5))
    waived = ledger.resolve("t", "bill:late", accept=False)
    assert (waived.spent, waived.disputed) == (Amount(10, 90), NOTHING)
    assert ledger.open_disputes("acme") == []
    for step in ("end", "bill:none", "verdict:excess"):
        with pytest.raises(ReservationError, match="nothing is disputed"):
            ledger.resolve("t", step, accept=True)


def test_late_corrections_count_once_for_each_reference(ledger: Ledger) -> None:
    ledger.reserve("t", RUN, Amount(10, 60))
    with pytest.raises(ReservationError, match="still held"):
        ledger.correct("t", "march", Amount(0, 1))
    ledger.settle("t", Amount(10, 60))
    assert ledger.correct("t", "march", Amount(0, -20)).spent == Amount(10, 40)
    assert ledger.correct("t", "march", Amount(0, -20)).spent == Amount(10, 40)
    assert ledger.correct("t", "april", Amount(0, 5)).spent == Amount(10, 45)
    before = everything(ledger)
    with pytest.raises(ReservationError, match="corrected by"):
        ledger.correct("t", "march", Amount(0, -21))
    with pytest.raises(ReservationError, match="gives back more"):
        ledger.correct("t", "may", Amount(0, -46))
    assert everything(ledger) == before
    assert ledger.balance("acme").posted == Amount(10, 45)


def test_a_bill_after_the_release_is_a_correction(ledger: Ledger) -> None:
    ledger.reserve("void", RUN, Amount(10, 60))
    ledger.release("void")
    late = ledger.correct("void", "late completion", Amount(10, 50))
    assert (late.state, late.spent) == (ReservationState.RELEASED, Amount(10, 50))
    ledger.set_limit("acme", micro_usd=50)
    late = ledger.correct("void", "fee", Amount(0, 1))
    assert (late.spent, late.disputed) == (Amount(10, 50), Amount(0, 1))
    assert ledger.correct("void", "fee", Amount(0, 1)) == late


def test_limits_can_be_set_kept_taken_away_and_not_undercut(ledger: Ledger) -> None:
    ledger.set_limit("acme", shots=100, micro_usd=1000)
    ledger.set_limit("acme", shots=50)
    assert (ledger.balance("acme").limit_shots, ledger.balance("acme").limit_micro_usd) == (50, 1000)
    ledger.reserve("t", RUN, Amount(30, 500))
    with pytest.raises(LimitTooLowError, match="limit of acme: 30 shots are spent or held already"):
        ledger.set_limit("acme", shots=29)
    assert ledger.set_limit("acme", shots=30, micro_usd=None).left(Currency.SHOTS) == 0
    assert ledger.balance("acme").limit_micro_usd is None
    limits = [(e.shots, e.micro_usd) for e in reversed(ledger.entries("acme")) if e.kind == "limit"]
    assert limits == [(100, 1000), (50, 1000), (30, None)]
    with pytest.raises(SpecError, match="no such account"):
        ledger.set_limit("nobody", shots=1)
    with pytest.raises(ValueError, match="a limit is an int"):
        ledger.set_limit("acme", shots=-1)


def test_an_unknown_account_is_an_error_of_the_user(ledger: Ledger) -> None:
    for account in ("acme/h2/run-3", "acme/other/run-1", "nobody"):
        with pytest.raises(SpecError, match="no such account"):
            ledger.reserve("t", account, Amount(1, 1))
    assert ledger.entries("acme") == []
    with pytest.raises(SpecError, match="not an account path"):
        ledger.reserve("t", "../acme", Amount(1, 1))


def test_numbers_at_the_edge_stay_exact(ledger: Ledger) -> None:
    for token in ("a", "b"):
        ledger.reserve(token, RUN, Amount(AMOUNT_MAX, AMOUNT_MAX))
    with ledger.database.write() as connection:  # as if there had been thousands of these
        connection.execute(update(accounts).values(posted_shots=TOTAL_MAX - 3 * AMOUNT_MAX))
    ledger.reserve("c", RUN, Amount(AMOUNT_MAX, 0))
    with pytest.raises(BudgetExceededError):
        ledger.reserve("d", RUN, Amount(1, 0))
    assert len(ledger.audit()) == 4
    with ledger.database.write() as connection:
        connection.execute(update(accounts).values(posted_shots=0))


def test_entries_come_in_pages_newest_first(ledger: Ledger) -> None:
    for number in range(7):
        ledger.reserve(f"t{number}", RUN if number % 2 else OTHER, Amount(number, 0))
    pages, before = [], None
    while page := ledger.entries("acme/h2", before=before, limit=3):
        pages.append([entry.shots for entry in page])
        before = page[-1].entry_id
    assert pages == [[6, 5, 4], [3, 2, 1], [0]]
    assert [entry.shots for entry in ledger.entries(RUN)] == [5, 3, 1]


def test_accounts_with_like_names_are_told_apart(ledger: Ledger) -> None:
    ledger.open_account("acme-2/h2")
    ledger.open_account("acm_/h2")
    assert [b.account for b in ledger.balances("acme")] == ["acme", "acme/h2", RUN, OTHER]
    assert [b.account for b in ledger.balances("acm_")] == ["acm_", "acm_/h2"]


# --- what the database itself refuses ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE entries SET shots = 0",
        "UPDATE entries SET note = 'x' WHERE token = 't'",
        "DELETE FROM entries",
    ],
)
def test_entries_cannot_be_changed(ledger: Ledger, statement: str) -> None:
    ledger.reserve("t", RUN, Amount(5, 5))
    with pytest.raises(DBAPIError, match="append-only"), ledger.database.write() as connection:
        connection.execute(text(statement))
    assert ledger.entries("acme")[0].shots == 5


def test_entries_cannot_be_truncated(ledger: Ledger) -> None:
    if ledger.database.engine.dialect.name != "postgresql":
        pytest.skip("SQLite has no TRUNCATE")
    with pytest.raises(DBAPIError, match="append-only"), ledger.database.write() as connection:
        connection.execute(text("TRUNCATE entries"))


@pytest.mark.parametrize(
    "values",
    [
        {"held_shots": 11},
        {"posted_shots": 11},
        {"posted_shots": 6, "held_shots": 5},
        {"held_micro_usd": -1},
        {"posted_micro_usd": -1},
        {"disputed_shots": -1},
        {"limit_shots": -1},
    ],
)
def test_the_database_itself_holds_the_limit(ledger: Ledger, values: dict[str, int]) -> None:
    ledger.set_limit("acme", shots=10)
    with pytest.raises(IntegrityError, match="within_limit"), ledger.database.write() as connection:
        connection.execute(update(accounts).where(accounts.c.path == "acme").values(values))


def test_no_step_of_a_token_is_entered_twice(ledger: Ledger) -> None:
    ledger.reserve("t", RUN, Amount(1, 1))
    ledger.settle("t", Amount(1, 1))
    columns = {"account": RUN, "shots": 1, "micro_usd": 1, "at_us": 1, "note": ""}
    for kind, step in (("reserve", "reserve"), ("release", "end")):
        with pytest.raises(IntegrityError), ledger.database.write() as connection:
            connection.execute(insert(entries).values(token="t", step=step, kind=kind, **columns))
    with pytest.raises(IntegrityError), ledger.database.write() as connection:
        connection.execute(insert(entries).values(token=None, step="end", kind="settle", **columns))


@pytest.mark.parametrize("part", ["held_shots", "posted_micro_usd", "disputed_shots", "limit_shots"])
def test_the_audit_finds_a_balance_that_was_changed(ledger: Ledger, part: str) -> None:
    ledger.set_limit("acme", shots=100, micro_usd=100)
    ledger.reserve("t", RUN, Amount(5, 5))
    column = accounts.c[part]
    with ledger.database.write() as connection:
        connection.execute(update(accounts).where(accounts.c.path == "acme").values({part: column + 1}))
    (found,) = ledger.audit()
    assert found.where == "acme"
    assert part.startswith(found.what)
    with ledger.database.write() as connection:
        connection.execute(update(accounts).where(accounts.c.path == "acme").values({part: column - 1}))


def test_the_audit_finds_entries_that_tell_no_story(database: Database) -> None:
    ledger = Ledger(database)
    ledger.open_account(RUN)
    ledger.open_account(OTHER)
    ledger.reserve("t", RUN, Amount(5, 5))
    with database.write() as connection:
        row = {"kind": "correction", "shots": -1, "micro_usd": 0, "at_us": 1, "note": ""}
        connection.execute(insert(entries).values(token="t", step="bill:x", account=OTHER, **row))
        connection.execute(insert(entries).values(token="ghost", step="bill:x", account=OTHER, **row))
    assert {"t", "ghost"} <= {found.where for found in ledger.audit()}


# --- transactions ----------------------------------------------------------------------------------------


def _reserve_settle_and_crash(begin: Callable[[], AbstractContextManager[Connection]]) -> None:
    with begin() as connection:
        reservations.reserve(connection, "t", RUN, Amount(1, 1), at_us=1)
        reservations.settle(connection, "t", Amount(9, 9), at_us=1)
        raise RuntimeError("crash")


def _reserve_and_fail(ledger: Ledger) -> None:
    with early_release.write(ledger.database) as connection:
        reservations.reserve(connection, "t", RUN, Amount(1, 1), at_us=1)
        with pytest.raises(DBAPIError):
            connection.execute(text("SELECT 1/0"))


def test_operations_commit_or_vanish_with_the_callers_transaction(ledger: Ledger) -> None:
    before = everything(ledger)
    for begin in (ledger.database.write, lambda: early_release.write(ledger.database)):
        with pytest.raises(RuntimeError, match="crash"):
            _reserve_settle_and_crash(begin)
        assert everything(ledger) == before
    for number, begin in enumerate((ledger.database.write, lambda: early_release.write(ledger.database))):
        with begin() as connection:
            reservations.reserve(connection, f"t{number}", RUN, Amount(1, 1), at_us=1)
            reservations.settle(connection, f"t{number}", Amount(9, 9), at_us=1)
    assert ledger.balance("acme").posted == Amount(18, 18)


def test_after_a_refusal_the_transaction_goes_on(ledger: Ledger) -> None:
    ledger.set_limit("acme", shots=5)
    with ledger.database.write() as connection:
        with pytest.raises(BudgetExceededError):
            reservations.reserve(connection, "big", RUN, Amount(6, 0), at_us=1)
        reservations.reserve(connection, "small", RUN, Amount(5, 0), at_us=1)
    with pytest.raises(ReservationError):
        ledger.find("big")
    assert ledger.find("small").state is ReservationState.HELD


def test_without_a_transaction_nothing_is_done(ledger: Ledger) -> None:
    with (
        ledger.database.engine.connect() as connection,
        pytest.raises(InvalidRequestError, match="open transaction"),
    ):
        reservations.reserve(connection, "t", RUN, Amount(1, 1), at_us=1)


def test_a_transaction_in_which_something_failed_is_not_committed(ledger: Ledger) -> None:
    if ledger.database.engine.dialect.name != "postgresql":
        pytest.skip("SQLite undoes the statement alone")
    with pytest.raises(InvalidRequestError, match="nothing of it is kept"):
        _reserve_and_fail(ledger)
    assert ledger.entries("acme") == []


def test_early_release_returns_only_when_the_log_is_on_disk(ledger: Ledger) -> None:
    if ledger.database.engine.dialect.name != "postgresql":
        pytest.skip("PostgreSQL only")
    """The entry's record lies before what is inserted now. The server's own processes write a record now and
    then, which may lie between; without the wait none of twenty would be on disk, for 200 ms."""
    query = text("SELECT pg_current_wal_flush_lsn() >= CAST(:written AS pg_lsn)")
    on_disk = 0
    for number in range(20):
        ledger.reserve(f"t{number}", RUN, Amount(1, 1))
        with ledger.database.read() as connection:
            written = connection.execute(text("SELECT pg_current_wal_insert_lsn()::text")).scalar_one()
            on_disk += bool(connection.execute(query, {"written": written}).scalar_one())
            assert connection.execute(text("SHOW synchronous_commit")).scalar_one() == "on"
    assert on_disk >= 16


def test_what_the_server_forgot_is_prepared_again(ledger: Ledger) -> None:
    ledger.reserve("first", RUN, Amount(1, 1))
    if ledger.database.engine.dialect.name == "postgresql":
        with ledger.database.driver() as driver:
            driver.connection.driver_connection.pgconn.exec_(b"DEALLOCATE ALL")
    ledger.reserve("second", RUN, Amount(1, 1))
    ledger.settle("first", Amount(1, 0))
    assert ledger.balance(RUN).held == Amount(1, 1)


def test_a_lost_connection_is_told_or_replaced_after_a_moment(
    database: Database, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    if database.engine.dialect.name != "postgresql":
        pytest.skip("SQLite has no connection to lose")
    monkeypatch.setattr("ledger.database._TRUSTED_IDLE_S", 60.0)
    ledger.reserve("first", RUN, Amount(1, 1))
    _end_connections(database)
    with pytest.raises(StorageError, match=r"connection|terminat"):
        ledger.settle("first", Amount(1, 1))
    assert ledger.settle("first", Amount(1, 1)).spent == Amount(1, 1)
    ledger.reserve("second", RUN, Amount(1, 1))
    _end_connections(database)
    monkeypatch.setattr("ledger.database._TRUSTED_IDLE_S", 0.0)
    assert ledger.settle("second", Amount(1, 1)).spent == Amount(1, 1), "idle for a while, it was asked first"


def _end_connections(database: Database) -> None:
    """As a server does that is restarted."""
    elsewhere = create_engine(database.engine.url, isolation_level="AUTOCOMMIT")
    with elsewhere.connect() as connection:
        connection.execute(
            text(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        )
    elsewhere.dispose()


def test_threads_cannot_overspend_together(ledger: Ledger) -> None:
    ledger.set_limit("acme", shots=50)
    gate = threading.Barrier(4)

    def work(worker: int) -> int:
        gate.wait()
        done = 0
        for number in range(25):
            try:
                ledger.reserve(f"{worker}-{number}", (RUN, OTHER)[worker % 2], Amount(1, 0))
                done += 1
            except BudgetExceededError:
                continue
        return done

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(work, range(4))) == 50
    assert ledger.balance("acme").held == Amount(50, 0)


def test_one_token_asked_for_by_many_is_reserved_and_settled_once(ledger: Ledger) -> None:
    gate = threading.Barrier(4)

    def work(_: int) -> list[object]:
        gate.wait()
        made = []
        for number in range(10):
            made.append(ledger.reserve(f"t{number}", RUN, Amount(2, 2)).reserved)
            made.append(ledger.settle(f"t{number}", Amount(1, 3)))
        return made

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(work, range(4)))
    assert all(answer == answers[0] for answer in answers)
    assert ledger.balance("acme").posted == Amount(10, 30)
    with ledger.database.read() as connection:
        assert len(connection.execute(select(entries)).all()) == 30


def test_freezing_while_others_reserve_keeps_the_books(ledger: Ledger) -> None:
    """It takes what is used under the lock that every reservation takes."""

    def reserve(number: int) -> bool:
        try:
            ledger.reserve(f"t{number}", RUN, Amount(1, 1_000))
        except BudgetExceededError:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        made = [pool.submit(reserve, number) for number in range(40)]
        ledger.freeze("acme")
        n_made = sum(each.result() for each in made)
    assert ledger.balance("acme").limit_shots == ledger.balance("acme").held.shots == n_made
    assert not reserve(99)
