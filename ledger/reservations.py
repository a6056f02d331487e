"""Reserve, settle, release, correct: each in the caller's open transaction, each safe to repeat.

They compose: a job's row and its reservation, or its outcome and its settlement, commit together. A refusal
changes nothing and leaves the transaction usable. A transaction that touches several accounts keeps to one
tenant, whose row is always locked first.
"""

from __future__ import annotations

from sqlalchemy import Connection, select

from ledger import rules
from ledger.accounts import lock
from ledger.amounts import NOTHING, Amount
from ledger.errors import BudgetExceededError, ReservationError
from ledger.posting import Posted, post, reservation_of
from ledger.rules import EXCESS_STEP, Entry, EntryKind, Posting, Reservation, ReservationState
from ledger.tables import entries

_TOKEN_LENGTH_MAX = 64
_REFERENCE_LENGTH_MAX = 80


def reserve(
    connection: Connection, token: str, account: str, amount: Amount, *, at_us: int, note: str = ""
) -> Reservation:
    """Reserve an amount on an account and all above it, or on none.

    Raises:
        BudgetExceededError: a limit on the path has no room.
        ReservationError: the token reserved something else before.
        SpecError: no such account.
    """
    check_token(token)
    outcome = post(connection, token, account, rules.reserve(amount), at_us=at_us, note=note)
    if isinstance(outcome, BudgetExceededError):
        raise outcome
    if outcome is Posted.DONE:
        return Reservation(token, account, ReservationState.HELD, amount)
    found = find(connection, token)
    if (found.account, found.reserved) != (account, amount):
        before = f"{found.reserved} on {found.account}"
        raise ReservationError(f"{token}: reserved {before} before, now {amount} on {account}")
    return found


def settle(connection: Connection, token: str, actual: Amount, *, at_us: int, note: str = "") -> Reservation:
    """End a reservation with its actual cost; what is left of the reserved amount goes back.

    Cost above what was reserved is charged where every limit has room for it; else it is entered as disputed.

    Raises:
        ReservationError: there is no such reservation, or it ended otherwise.
    """
    account, reserved = _reservation_of(connection, token)
    posting, above = rules.settle(reserved, actual)
    if post(connection, token, account, posting, at_us=at_us, note=note) is not Posted.DONE:
        return _same_end(connection, token, actual)
    spent, disputed = posting.amount, NOTHING
    if above:
        why = f"{above.told} above the quote"
        charged = _charge_or_dispute(
            connection,
            token,
            account,
            rules.excess(above),
            at_us=at_us,
            note=f"{note}: {why}" if note else why,
        )
        spent, disputed = (spent + above, disputed) if charged else (spent, above)
    return Reservation(token, account, ReservationState.SETTLED, reserved, actual, spent, disputed)


def release(connection: Connection, token: str, *, at_us: int, note: str = "") -> Reservation:
    """End a reservation with nothing spent.

    Raises:
        ReservationError: there is no such reservation, or it was settled.
    """
    account, reserved = _reservation_of(connection, token)
    if post(connection, token, account, rules.release(reserved), at_us=at_us, note=note) is not Posted.DONE:
        return _same_end(connection, token, None)
    return Reservation(token, account, ReservationState.RELEASED, reserved)


def correct(
    connection: Connection, token: str, reference: str, delta: Amount, *, at_us: int, note: str = ""
) -> Reservation:
    """Charge or credit after the end, once for each reference (a line of the provider's bill, say).

    A charge that no limit has room for is entered as disputed.

    Raises:
        ReservationError: not ended yet, more given back than spent, or the reference said otherwise before.
    """
    if not 0 < len(reference) <= _REFERENCE_LENGTH_MAX:
        raise ReservationError(
            f"a reference has 1 to {_REFERENCE_LENGTH_MAX} characters (got {len(reference)})"
        )
    account, _ = _reservation_of(connection, token)
    lock(connection, account)  # the sum of the token's entries must not change under us
    before = _at_step(connection, token, rules.bill_step(reference))
    if before is not None:
        if before.amount != delta:
            raise ReservationError(
                f"{token}: {reference!r} corrected by {before.amount} before, now by {delta}"
            )
        return find(connection, token)
    posting = rules.correction(reference, delta, find(connection, token))
    _charge_or_dispute(connection, token, account, posting, at_us=at_us, note=note)
    return find(connection, token)


def resolve(
    connection: Connection, token: str, step: str, *, accept: bool, at_us: int, note: str = ""
) -> Reservation:
    """End the dispute that an entry's `step` opened: spent after all, or never owed.

    Raises:
        BudgetExceededError: accepted, and a limit still has no room.
        ReservationError: there is no such dispute, or it ended otherwise.
    """
    opened = _at_step(connection, token, step)
    if opened is None or opened.kind is not EntryKind.DISPUTED or opened.amount.has_negative:
        raise ReservationError(f"{token}: nothing is disputed at {step!r}")
    lock(connection, opened.account)
    if _at_step(connection, token, rules.verdict_step(step)) is not None:
        accepted = _at_step(connection, token, rules.accepted_step(step)) is not None
        if accepted != accept:
            raise ReservationError(f"{token}: the dispute at {step!r} ended the other way")
        return find(connection, token)
    if accept:
        outcome = post(
            connection, token, opened.account, rules.accept_dispute(opened), at_us=at_us, note=note
        )
        if isinstance(outcome, BudgetExceededError):
            raise outcome
    post(connection, token, opened.account, rules.end_dispute(opened), at_us=at_us, note=note)
    return find(connection, token)


def find(connection: Connection, token: str) -> Reservation:
    """A reservation as its entries have it.

    Raises:
        ReservationError: there is none.
    """
    rows = connection.execute(select(entries).where(entries.c.token == token).order_by(entries.c.entry_id))
    found = rules.reservation([entry_of(row) for row in rows])
    if found is None:
        raise ReservationError(f"{token}: nothing is reserved under this token")
    return found


def check_token(token: str) -> None:
    """Refuse what no column could hold."""
    if not 0 < len(token) <= _TOKEN_LENGTH_MAX:
        raise ReservationError(f"a token has 1 to {_TOKEN_LENGTH_MAX} characters (got {len(token)})")


def entry_of(row) -> Entry:
    """A row of `entries` as what it means."""
    return Entry(**{**row._mapping, "kind": EntryKind(row.kind)})


def _reservation_of(connection: Connection, token: str) -> tuple[str, Amount]:
    found = reservation_of(connection, token)
    if found is None:
        raise ReservationError(f"{token}: nothing is reserved under this token")
    return found


def _at_step(connection: Connection, token: str, step: str) -> Entry | None:
    query = select(entries).where(entries.c.token == token, entries.c.step == step)
    row = connection.execute(query).first()
    return None if row is None else entry_of(row)


def _charge_or_dispute(
    connection: Connection, token: str, account: str, charge: Posting, *, at_us: int, note: str
) -> bool:
    """Enter a charge, or where it does not fit, its dispute; whether it was charged."""
    outcome = post(connection, token, account, charge, at_us=at_us, note=note)
    if isinstance(outcome, BudgetExceededError):
        note = f"{note}: {outcome}" if note else str(outcome)
        post(connection, token, account, rules.dispute(charge), at_us=at_us, note=note)
    return outcome is Posted.DONE


def _same_end(connection: Connection, token: str, actual: Amount | None) -> Reservation:
    """The end that a reservation has, if it is the one asked for: settled at `actual`, or released (None)."""
    rows = connection.execute(
        select(entries).where(entries.c.token == token, entries.c.step.in_([rules.END_STEP, EXCESS_STEP]))
    )
    ended = [entry_of(row) for row in rows]
    released = any(entry.kind is EntryKind.RELEASE for entry in ended)
    if actual is None and released:
        return find(connection, token)
    total = sum((entry.amount for entry in ended), NOTHING)
    if released or total != actual:
        before = "released" if released else f"settled at {total}"
        raise ReservationError(
            f"{token}: {before} before, now {'released' if actual is None else f'{actual}'}"
        )
    return find(connection, token)
