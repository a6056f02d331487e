"""The rules of the ledger, as pure functions: what each operation enters, and what it moves.

A *posting* is one entry together with what it moves at the account it names and at every account above.
A token's steps are each taken at most once, which is what makes every operation safe to repeat:

    reserve            reserved
    end                settled or released, never both
    excess             actual cost above what was reserved: charged, or disputed where a limit has no room
    bill:REFERENCE     a late correction: a charge, a credit, or disputed where a limit has no room
    accepted:STEP      the charge after all, where the dispute that STEP opened ended against us
    verdict:STEP       the end of the dispute that STEP opened
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from ledger.amounts import AMOUNT_MAX, NOTHING, TOTAL_MAX, Amount, Balance, Currency
from ledger.errors import BudgetExceededError, LimitTooLowError, ReservationError

RESERVE_STEP = "reserve"
END_STEP = "end"
BY_HAND = "by hand"
"""Note of entries that end a dispute by a person's word."""
EXCESS_STEP = "excess"


class EntryKind(StrEnum):
    """What an entry says."""

    RESERVE = "reserve"
    """The amount is reserved."""
    SETTLE = "settle"
    """The amount is spent; the reservation ends."""
    RELEASE = "release"
    """Nothing is spent; the reservation, whose amount is repeated, ends."""
    EXCESS = "excess"
    """The amount is spent above what was reserved."""
    CORRECTION = "correction"
    """The amount is spent (or, below 0, given back) after the end."""
    DISPUTED = "disputed"
    """The amount is billed and not accepted; below 0 it ends a dispute."""
    LIMIT = "limit"
    """The amounts are the account's limits from here on; None is no limit."""


class ReservationState(StrEnum):
    HELD = "held"
    SETTLED = "settled"
    RELEASED = "released"


@dataclass(frozen=True)
class Entry:
    """One line of the ledger; never changed. Shots and micro_usd are None only in a limit entry."""

    entry_id: int
    token: str | None
    step: str | None
    account: str
    kind: EntryKind
    shots: int | None
    micro_usd: int | None
    at_us: int
    note: str

    @property
    def amount(self) -> Amount:
        return Amount(self.shots or 0, self.micro_usd or 0)


@dataclass(frozen=True)
class Posting:
    """An entry to make, and what it moves at every level."""

    kind: EntryKind
    step: str
    amount: Amount
    held: Amount = NOTHING
    posted: Amount = NOTHING
    disputed: Amount = NOTHING


@dataclass(frozen=True)
class Reservation:
    """What a token's entries add up to.

    Attributes:
        reserved: the amount, which stays here after it ended.
        settled: what it ended with, an excess included, charged or disputed; corrections come on top.
        spent: settled, excess and corrections together; never below 0.
        disputed: billed and not accepted, still open.
        corrections: how often a bill was entered after the end, disputed or not.
        waived: of what was disputed, what a person said was never owed.
    """

    token: str
    account: str
    state: ReservationState
    reserved: Amount
    settled: Amount = NOTHING
    spent: Amount = NOTHING
    disputed: Amount = NOTHING
    corrections: int = 0
    waived: Amount = NOTHING


@dataclass(frozen=True)
class Verdict:
    """How the dispute that a token's `step` opened ends: spent after all, or never owed."""

    token: str
    step: str
    accept: bool


def bill_step(reference: str) -> str:
    return f"bill:{reference}"


def accepted_step(step: str) -> str:
    return f"accepted:{step}"


def verdict_step(step: str) -> str:
    return f"verdict:{step}"


def reservation(entries: Sequence[Entry]) -> Reservation | None:
    """What a token's entries say; None where there are none."""
    first = next((entry for entry in entries if entry.step == RESERVE_STEP), None)
    if first is None or first.token is None:
        return None
    state = ReservationState.HELD
    settled = spent = disputed = waived = NOTHING
    corrections, steps = 0, {entry.step for entry in entries}
    for entry in entries:
        corrections += (entry.step or "").startswith(bill_step(""))
        if entry.kind is EntryKind.SETTLE or entry.step == EXCESS_STEP:
            settled += entry.amount
        match entry.kind:
            case EntryKind.SETTLE:
                state, spent = ReservationState.SETTLED, spent + entry.amount
            case EntryKind.RELEASE:
                state = ReservationState.RELEASED
            case EntryKind.EXCESS | EntryKind.CORRECTION:
                spent += entry.amount
            case EntryKind.DISPUTED:
                disputed += entry.amount
                opened = (entry.step or "").removeprefix(verdict_step(""))
                if entry.note == BY_HAND and entry.amount.has_negative and accepted_step(opened) not in steps:
                    waived -= entry.amount
            case _:
                pass
    return Reservation(
        first.token, first.account, state, first.amount, settled, spent, disputed, corrections, waived
    )


def reserve(amount: Amount) -> Posting:
    """Reserve an amount."""
    _check_cost(amount)
    return Posting(EntryKind.RESERVE, RESERVE_STEP, amount, held=amount)


def settle(reserved: Amount, actual: Amount) -> tuple[Posting, Amount]:
    """Spend the actual cost within what was reserved; and the excess, which needs room of its own."""
    _check_cost(actual)
    within = actual.at_most(reserved)
    return Posting(EntryKind.SETTLE, END_STEP, within, held=-reserved, posted=within), actual - within


def release(reserved: Amount) -> Posting:
    """End a reservation with nothing spent."""
    return Posting(EntryKind.RELEASE, END_STEP, reserved, held=-reserved)


def excess(amount: Amount) -> Posting:
    """Charge what the actual cost had above what was reserved."""
    return Posting(EntryKind.EXCESS, EXCESS_STEP, amount, posted=amount)


def correction(reference: str, delta: Amount, now: Reservation) -> Posting:
    """Charge or credit after the end.

    Raises:
        ReservationError: it has not ended, gives back more than was spent, or both charges and credits.
    """
    _check_size(delta)
    if delta.has_negative and (-delta).has_negative:
        raise ReservationError(f"{now.token}: enter the charge and the credit of {delta} as two corrections")
    if now.state is ReservationState.HELD:
        raise ReservationError(f"{now.token}: still held; settle or release it before correcting it")
    if (now.spent + delta).has_negative:
        raise ReservationError(
            f"{now.token}: correction of {delta} gives back more than was spent ({now.spent})"
        )
    return Posting(EntryKind.CORRECTION, bill_step(reference), delta, posted=delta)


def dispute(refused: Posting) -> Posting:
    """What is entered where no limit has room for a charge that the provider has made."""
    return Posting(EntryKind.DISPUTED, refused.step, refused.amount, disputed=refused.amount)


def accept_dispute(opened: Entry) -> Posting:
    """Spend after all what was disputed; `end_dispute` goes with it."""
    return Posting(
        EntryKind.CORRECTION, accepted_step(opened.step or ""), opened.amount, posted=opened.amount
    )


def end_dispute(opened: Entry) -> Posting:
    """Take what was disputed out of the disputes: accepted, or never owed."""
    amount = -opened.amount
    return Posting(EntryKind.DISPUTED, verdict_step(opened.step or ""), amount, disputed=amount)


def refusal(path: Iterable[Balance], posting: Posting) -> BudgetExceededError | None:
    """The first limit on the path that has no room for a posting; None if all have.

    A posting that adds nothing to posted + held passes everywhere: limits hold before it. What is disputed
    takes its room from reservations: else a device that bills above its quotes could do so for ever.
    """
    grows = posting.held + posting.posted
    for balance in path:
        for currency in Currency:
            limit = balance.limit(currency)
            left = (TOTAL_MAX if limit is None else limit) - balance.used(currency)
            disputed = balance.disputed.of(currency) if posting.held.of(currency) > 0 else 0
            left -= disputed
            if grows.of(currency) > max(left, 0):
                return BudgetExceededError(
                    balance.account, currency, grows.of(currency), max(left, 0), disputed
                )
    return None


def check_limit(balance: Balance) -> None:
    """Refuse new limits that what is spent and held breaks already.

    Raises:
        LimitTooLowError: naming the currency.
        ValueError: a limit that no account can have.
    """
    for currency in Currency:
        limit = balance.limit(currency)
        if limit is None:
            continue
        if type(limit) is not int or not 0 <= limit <= TOTAL_MAX:
            raise ValueError(f"a limit is an int from 0 to {TOTAL_MAX}, not {limit!r}")
        if limit < balance.used(currency):
            raise LimitTooLowError(balance.account, currency, limit, balance.used(currency))


def _check_cost(amount: Amount) -> None:
    if amount.has_negative:
        raise ReservationError(f"a cost is never below 0 (got {amount})")
    _check_size(amount)


def _check_size(amount: Amount) -> None:
    if max(abs(amount.shots), abs(amount.micro_usd)) > AMOUNT_MAX:
        raise ReservationError(f"no one operation moves more than {AMOUNT_MAX:,} (got {amount})")
