"""The ledger's rules, each alone: what an operation enters and what it moves."""

import pytest

from ledger import rules
from ledger.amounts import AMOUNT_MAX, NOTHING, TOTAL_MAX, Amount, Balance, Currency
from ledger.errors import LimitTooLowError, ReservationError
from ledger.rules import Entry, EntryKind, Reservation, ReservationState


def entry(kind: EntryKind, step: str, amount: Amount, entry_id: int = 1) -> Entry:
    return Entry(entry_id, "t", step, "a/b/c", kind, amount.shots, amount.micro_usd, 0, "")


def settled(spent: Amount) -> Reservation:
    return Reservation("t", "a", ReservationState.SETTLED, spent, spent, spent)


def test_a_promise_is_held_and_not_spent() -> None:
    posting = rules.reserve(Amount(3, 5))
    assert (posting.held, posting.posted, posting.disputed) == (Amount(3, 5), NOTHING, NOTHING)


@pytest.mark.parametrize(
    ("actual", "spent", "above"),
    [
        (Amount(3, 5), Amount(3, 5), NOTHING),
        (Amount(1, 2), Amount(1, 2), NOTHING),
        (NOTHING, NOTHING, NOTHING),
        (Amount(4, 2), Amount(3, 2), Amount(1, 0)),
        (Amount(9, 9), Amount(3, 5), Amount(6, 4)),
    ],
)
def test_settling_ends_the_whole_promise_and_spends_within_it(
    actual: Amount, spent: Amount, above: Amount
) -> None:
    posting, excess = rules.settle(Amount(3, 5), actual)
    assert (posting.held, posting.posted, posting.amount) == (-Amount(3, 5), spent, spent)
    assert excess == above
    assert spent + above == actual


def test_a_release_spends_nothing() -> None:
    posting = rules.release(Amount(3, 5))
    assert (posting.held, posting.posted) == (-Amount(3, 5), NOTHING)
    assert posting.step == rules.settle(NOTHING, NOTHING)[0].step, "ending once, in whichever way"


def test_a_dispute_takes_the_step_of_the_charge_and_counts_as_unspent() -> None:
    charge = rules.excess(Amount(0, 7))
    disputed = rules.dispute(charge)
    assert (disputed.step, disputed.held, disputed.posted) == (charge.step, NOTHING, NOTHING)
    assert disputed.disputed == Amount(0, 7)
    opened = entry(EntryKind.DISPUTED, disputed.step, disputed.amount)
    assert rules.end_dispute(opened).disputed == -Amount(0, 7)
    assert rules.accept_dispute(opened).posted == Amount(0, 7)


def test_corrections_stay_within_what_was_spent() -> None:
    assert rules.correction("r", Amount(0, -5), settled(Amount(1, 5))).posted == Amount(0, -5)
    with pytest.raises(ReservationError, match="gives back more"):
        rules.correction("r", Amount(0, -6), settled(Amount(1, 5)))
    with pytest.raises(ReservationError, match="two corrections"):
        rules.correction("r", Amount(1, -1), settled(Amount(1, 5)))
    held = Reservation("t", "a", ReservationState.HELD, Amount(1, 1))
    with pytest.raises(ReservationError, match="still held"):
        rules.correction("r", Amount(0, 1), held)


@pytest.mark.parametrize(
    "amount", [Amount(-1, 0), Amount(0, -1), Amount(AMOUNT_MAX + 1, 0), Amount(0, 2**63)]
)
def test_costs_that_cannot_be_are_refused(amount: Amount) -> None:
    for rule in (rules.reserve, lambda a: rules.settle(NOTHING, a)):
        with pytest.raises(ReservationError):
            rule(amount)


@pytest.mark.parametrize("value", [1.0, True, "1", None])
def test_an_amount_is_made_of_integers(value: object) -> None:
    with pytest.raises(TypeError, match="must be an int"):
        Amount(0, value)  # pyright: ignore[reportArgumentType]


def test_the_first_limit_without_room_is_named() -> None:
    path = [Balance("a", None, 100, Amount(0, 30), Amount(0, 30)), Balance("a/b", 10, 50, Amount(0, 30))]
    assert rules.refusal(path, rules.reserve(Amount(10, 20))) is None
    refused = rules.refusal(path, rules.reserve(Amount(11, 21)))
    assert refused is not None
    assert (refused.account, refused.currency, refused.asked, refused.left) == ("a/b", Currency.SHOTS, 11, 10)
    assert "\n" not in str(refused)
    refused = rules.refusal(path, rules.reserve(Amount(11, 41)))
    assert refused is not None
    assert (refused.account, refused.currency, refused.left) == ("a", Currency.MICRO_USD, 40)
    assert str(refused).startswith("budget of a: asked 0.000041 USD, left 0.00004 USD; ")
    assert refused.exit_code == 3


def test_what_gives_back_passes_every_limit() -> None:
    path = [Balance("a", 0, 0)]
    for posting in (rules.release(Amount(5, 5)), rules.settle(Amount(5, 5), Amount(5, 5))[0]):
        assert rules.refusal(path, posting) is None
    assert rules.refusal(path, rules.dispute(rules.excess(Amount(5, 5)))) is None


def test_an_account_without_a_limit_has_one_all_the_same() -> None:
    path = [Balance("a", None, None, posted=Amount(TOTAL_MAX - 1, 0))]
    assert rules.refusal(path, rules.reserve(Amount(1, 0))) is None
    assert rules.refusal(path, rules.reserve(Amount(2, 0))) is not None


def test_a_limit_lies_at_or_above_what_is_used() -> None:
    rules.check_limit(Balance("a", 10, None, Amount(4, 0), Amount(6, 9)))
    with pytest.raises(LimitTooLowError, match="10 shots are spent or held"):
        rules.check_limit(Balance("a", 9, None, Amount(4, 0), Amount(6, 9)))
    for bad in (-1, TOTAL_MAX + 1, 1.5):
        with pytest.raises(ValueError, match="a limit is an int"):
            rules.check_limit(Balance("a", bad, None))  # pyright: ignore[reportArgumentType]


def test_a_tokens_entries_add_up() -> None:
    told = [
        entry(EntryKind.RESERVE, "reserve", Amount(5, 50)),
        entry(EntryKind.SETTLE, "end", Amount(5, 50)),
        entry(EntryKind.EXCESS, "excess", Amount(1, 0)),
        entry(EntryKind.CORRECTION, "bill:1", Amount(0, -20)),
        entry(EntryKind.DISPUTED, "bill:2", Amount(0, 9)),
    ]
    now = rules.reservation(told)
    assert now == Reservation(
        "t",
        "a/b/c",
        ReservationState.SETTLED,
        reserved=Amount(5, 50),
        settled=Amount(6, 50),
        spent=Amount(6, 30),
        disputed=Amount(0, 9),
        corrections=2,
    )
    assert rules.reservation(told[1:]) is None
