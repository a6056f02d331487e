"""The fast path of reserve, settle and release, transactions of one posting: what every paid job waits for.

Each is one message to PostgreSQL and one short write section on SQLite, and is durable when it returns. They
answer only "done"; whatever else it is (a repetition, a refusal, a cost above the reservation) has changed
nothing, and `ledger.reservations` decides it in a transaction of the ordinary kind.

On PostgreSQL the procedures `post_alone` and `end_alone` (migration 0007) commit without waiting for the
disk, which lets the tenant's row go, and then wait for the log: see `ledger.early_release`.
"""

from __future__ import annotations

from ledger import rules
from ledger.amounts import NOTHING, Amount
from ledger.database import Database
from ledger.posting import ARGUMENT_NAMES, INSERT, MOVE, NUMBERED_ARGUMENTS, RESERVED, values_of
from ledger.rules import EntryKind, Posting, Reservation, ReservationState
from ledger.statements import Driver, Procedure, Statement

_POST = Procedure("post_alone", "false, " + NUMBERED_ARGUMENTS)
_END = Procedure("end_alone", "false, NULL, NULL, NULL, $1, $2, $3, $4, $5, $6")
_TRUE = "t"
"""As PostgreSQL writes it."""
_BEGIN, _COMMIT, _ROLLBACK = Statement("BEGIN IMMEDIATE"), Statement("COMMIT"), Statement("ROLLBACK")


def reserve(
    database: Database, token: str, account: str, amount: Amount, *, at_us: int, note: str
) -> Reservation | None:
    """A new reservation; None where it is none, and nothing was changed."""
    values = values_of(token, account, rules.reserve(amount), at_us=at_us, note=note)
    with database.driver() as driver:
        if _on_postgresql(driver):
            (answer,) = _POST.call(driver, [values[name] for name in ARGUMENT_NAMES])
            done = answer == _TRUE
        else:
            done = _post(driver, values)
    return Reservation(token, account, ReservationState.HELD, amount) if done else None


def end(
    database: Database, token: str, actual: Amount | None, *, at_us: int, note: str
) -> Reservation | None:
    """End a reservation: settled within it, or released (`actual` is None); None where it is neither."""
    with database.driver() as driver:
        found = (_end_on_postgresql if _on_postgresql(driver) else _end_on_sqlite)(
            driver, token, actual, at_us, note
        )
    if found is None:
        return None
    account, reserved = found
    if actual is None:
        return Reservation(token, account, ReservationState.RELEASED, reserved)
    return Reservation(token, account, ReservationState.SETTLED, reserved, settled=actual, spent=actual)


def _end_on_postgresql(
    driver: Driver, token: str, actual: Amount | None, at_us: int, note: str
) -> tuple[str, Amount] | None:
    kind, spent = (EntryKind.RELEASE, NOTHING) if actual is None else (EntryKind.SETTLE, actual)
    done, account, shots, micro_usd = _END.call(
        driver, [token, kind.value, spent.shots, spent.micro_usd, at_us, note]
    )
    if done != _TRUE or account is None or shots is None or micro_usd is None:
        return None
    return account, Amount(int(shots), int(micro_usd))


def _end_on_sqlite(
    driver: Driver, token: str, actual: Amount | None, at_us: int, note: str
) -> tuple[str, Amount] | None:
    found = RESERVED.autocommit(
        driver, {"token": token}
    )  # never changes, so it is read before the write begins
    if found is None:
        return None
    account, reserved = found[0], Amount(found[1], found[2])
    posting = _end_posting(reserved, actual)
    if posting is None or not _post(driver, values_of(token, account, posting, at_us=at_us, note=note)):
        return None
    return account, reserved


def _end_posting(reserved: Amount, actual: Amount | None) -> Posting | None:
    if actual is None:
        return rules.release(reserved)
    posting, above = rules.settle(reserved, actual)
    return None if above else posting


def _post(driver: Driver, values: dict[str, str | int]) -> bool:
    _BEGIN.autocommit(driver)
    try:
        if INSERT.autocommit(driver, values) is None:
            _ROLLBACK.autocommit(driver)
            return False
        MOVE.autocommit(driver, values)
        _COMMIT.autocommit(driver)
    except BaseException:
        driver.connection.rollback()
        raise
    return True


def _on_postgresql(driver: Driver) -> bool:
    return driver.dialect.name == "postgresql"
