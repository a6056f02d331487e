"""The ledger against a model that adds everything up anew: 10,000 random steps without a difference."""

import contextlib
import copy
import os
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from ledger import (
    Amount,
    BudgetExceededError,
    Database,
    Ledger,
    LimitTooLowError,
    ReservationError,
    Verdict,
    reservations,
)
from ledger.amounts import NOTHING

STEPS = 10_000
EXAMPLES = 125  # some examples end early
STEPS_AN_EXAMPLE = 100
RUNS = ["t/p/a", "t/p/b", "t/q/c"]
ACCOUNTS = ["t", "t/p", "t/q", *RUNS]
PLACES = ["t/p", *RUNS]  # reservations on an account with accounts below it are allowed too
TOKENS = [f"token-{n}" for n in range(8)]
REFERENCES = ["march", "april"]
amounts = st.builds(Amount, st.integers(0, 12), st.integers(0, 12))
limits = st.none() | st.integers(0, 40)


@dataclass
class ExpectedReservation:
    account: str
    reserved: Amount
    ended: Amount | str | None = None
    spent: Amount = NOTHING
    disputes: dict[str, Amount] = field(default_factory=dict)
    verdicts: dict[str, bool] = field(default_factory=dict)
    corrections: dict[str, Amount] = field(default_factory=dict)


class LedgerModel(RuleBasedStateMachine):
    """Every rule does the same to the ledger and to the model, refusals and repetitions included."""

    template: Path
    steps = 0

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
        shutil.copy(self.template, self.folder / "ledger.db")
        self.database = Database(f"sqlite:///{self.folder / 'ledger.db'}")
        self.ledger = Ledger(self.database)
        self.limits: dict[str, tuple[int | None, int | None]] = {}
        self.reservations: dict[str, ExpectedReservation] = {}
        self.unaudited = 0

    def teardown(self) -> None:
        differences = self.ledger.audit()
        self.database.close()
        shutil.rmtree(self.folder)
        assert differences == []

    # --- the model

    def used(self, account: str) -> Amount:
        total = NOTHING
        for reservation in self.reservations.values():
            if reservation.account == account or reservation.account.startswith(account + "/"):
                total += reservation.spent + (reservation.reserved if reservation.ended is None else NOTHING)
        return total

    def disputed(self, account: str) -> Amount:
        below = [
            p
            for p in self.reservations.values()
            if p.account == account or p.account.startswith(account + "/")
        ]
        return sum((a for p in below for s, a in p.disputes.items() if s not in p.verdicts), NOTHING)

    def fits(self, account: str, more: Amount, *, reserving: bool = False) -> bool:
        """Whether an amount fits; what is disputed takes room from what is to be reserved."""
        for above in ACCOUNTS:
            if account == above or account.startswith(above + "/"):
                now = self.used(above) + (self.disputed(above) if reserving else NOTHING)
                shots, micro_usd = self.limits.get(above, (None, None))
                if shots is not None and more.shots > 0 and now.shots + more.shots > shots:
                    return False
                if (
                    micro_usd is not None
                    and more.micro_usd > 0
                    and now.micro_usd + more.micro_usd > micro_usd
                ):
                    return False
        return True

    def agree(self, happened: type | None, expected: type | None) -> None:
        assert happened is expected

    def charge(self, reservation: ExpectedReservation, step: str, amount: Amount) -> None:
        if self.fits(reservation.account, amount):
            reservation.spent += amount
        else:
            reservation.disputes[step] = amount

    # --- the rules

    @initialize(shots=st.integers(10, 60), micro_usd=st.integers(10, 60))
    def limit_the_tenant(self, shots: int, micro_usd: int) -> None:
        self.ledger.set_limit("t", shots=shots, micro_usd=micro_usd)
        self.limits["t"] = (shots, micro_usd)

    @rule(account=st.sampled_from(ACCOUNTS), shots=limits, micro_usd=limits)
    def set_limit(self, account: str, shots: int | None, micro_usd: int | None) -> None:
        now = self.used(account)
        too_low = (shots is not None and shots < now.shots) or (
            micro_usd is not None and micro_usd < now.micro_usd
        )
        try:
            self.ledger.set_limit(account, shots=shots, micro_usd=micro_usd)
        except LimitTooLowError:
            assert too_low
            return
        assert not too_low
        self.limits[account] = (shots, micro_usd)

    @rule(
        token=st.sampled_from(TOKENS),
        account=st.sampled_from(PLACES),
        amount=amounts,
        rolled_back=st.booleans(),
    )
    def reserve(self, token: str, account: str, amount: Amount, rolled_back: bool) -> None:
        before = self.reservations.get(token)
        if before is not None:
            same = (before.account, before.reserved) == (account, amount)
            expected = None if same else ReservationError
        else:
            expected = None if self.fits(account, amount, reserving=True) else BudgetExceededError
        try:
            if rolled_back:
                self.reserve_and_crash(token, account, amount)
            else:
                self.ledger.reserve(token, account, amount)
        except (BudgetExceededError, ReservationError) as error:
            self.agree(type(error), expected)
            return
        self.agree(None, expected)
        if before is None and not rolled_back:
            self.reservations[token] = ExpectedReservation(account, amount)

    def reserve_and_crash(self, token: str, account: str, amount: Amount) -> None:
        with contextlib.suppress(InterruptedError), self.database.write() as connection:
            reservations.reserve(connection, token, account, amount, at_us=1)
            raise InterruptedError

    @precondition(lambda self: self.reservations)
    @rule(data=st.data(), actual=amounts)
    def settle(self, data: st.DataObject, actual: Amount) -> None:
        token = data.draw(st.sampled_from(sorted(self.reservations)))
        reservation = self.reservations[token]
        try:
            self.ledger.settle(token, actual)
        except ReservationError:
            assert reservation.ended not in (None, actual)
            return
        assert reservation.ended in (None, actual)
        if reservation.ended is None:
            reservation.ended = actual
            within = actual.at_most(reservation.reserved)
            reservation.spent = within
            if actual != within:
                self.charge(reservation, "excess", actual - within)

    @precondition(lambda self: self.reservations)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        token = data.draw(st.sampled_from(sorted(self.reservations)))
        reservation = self.reservations[token]
        try:
            self.ledger.release(token)
        except ReservationError:
            assert isinstance(reservation.ended, Amount)
            return
        assert reservation.ended in (None, "released")
        reservation.ended = "released"

    @precondition(lambda self: self.reservations)
    @rule(
        data=st.data(),
        reference=st.sampled_from(REFERENCES),
        delta=st.builds(Amount, st.integers(-6, 12), st.integers(-6, 12)),
    )
    def correct(self, data: st.DataObject, reference: str, delta: Amount) -> None:
        token = data.draw(st.sampled_from(sorted(self.reservations)))
        reservation = self.reservations[token]
        before = reservation.corrections.get(reference)
        if before is not None:
            allowed = before == delta
        else:
            mixed = min(delta.shots, delta.micro_usd) < 0 < max(delta.shots, delta.micro_usd)
            allowed = (
                reservation.ended is not None and not mixed and not (reservation.spent + delta).has_negative
            )
        try:
            self.ledger.correct(token, reference, delta)
        except ReservationError:
            assert not allowed
            return
        assert allowed
        if before is None:
            reservation.corrections[reference] = delta
            self.charge(reservation, f"bill:{reference}", delta)

    @precondition(lambda self: any(p.disputes for p in self.reservations.values()))
    @rule(data=st.data(), accept=st.booleans())
    def resolve(self, data: st.DataObject, accept: bool) -> None:
        opened = sorted((token, step) for token, p in self.reservations.items() for step in p.disputes)
        token, step = data.draw(st.sampled_from(opened))
        reservation = self.reservations[token]
        amount, verdict = reservation.disputes[step], reservation.verdicts.get(step)
        if verdict is not None:
            expected = None if verdict == accept else ReservationError
        else:
            expected = None if not accept or self.fits(reservation.account, amount) else BudgetExceededError
        try:
            self.ledger.resolve(token, step, accept=accept)
        except (ReservationError, BudgetExceededError) as error:
            self.agree(type(error), expected)
            return
        self.agree(None, expected)
        if verdict is None:
            reservation.verdicts[step] = accept
            reservation.spent += amount if accept else NOTHING

    @precondition(lambda self: any(p.disputes for p in self.reservations.values()))
    @rule(data=st.data())
    def resolve_together(self, data: st.DataObject) -> None:
        """Several disputes, each one way, in one transaction: all of them, or none."""
        opened = sorted((token, step) for token, p in self.reservations.items() for step in p.disputes)
        chosen = data.draw(st.lists(st.sampled_from(opened), min_size=1, max_size=4, unique=True))
        verdicts = [Verdict(token, step, data.draw(st.booleans())) for token, step in chosen]
        before = copy.deepcopy(self.reservations)
        expected = next((error for each in verdicts if (error := self.end_dispute(each))), None)
        try:
            self.ledger.resolve_all(verdicts)
        except (ReservationError, BudgetExceededError) as error:
            self.reservations = before
            self.agree(type(error), expected)
            return
        self.agree(None, expected)

    def end_dispute(self, verdict: Verdict) -> type[Exception] | None:
        """Enter a verdict into the model, or say how it is refused."""
        reservation = self.reservations[verdict.token]
        amount, known = reservation.disputes[verdict.step], reservation.verdicts.get(verdict.step)
        if known is not None:
            return None if known == verdict.accept else ReservationError
        if verdict.accept and not self.fits(reservation.account, amount):
            return BudgetExceededError
        reservation.verdicts[verdict.step] = verdict.accept
        reservation.spent += amount if verdict.accept else NOTHING
        return None

    @precondition(lambda self: self.unaudited >= 5)
    @rule()
    def audit(self) -> None:
        assert self.ledger.audit() == []
        self.unaudited = 0

    # --- what always holds

    @invariant()
    def balances_are_the_models(self) -> None:
        LedgerModel.steps += 1
        self.unaudited += 1
        for balance in self.ledger.balances():
            below = [
                p
                for p in self.reservations.values()
                if p.account == balance.account or p.account.startswith(balance.account + "/")
            ]
            held = sum((p.reserved for p in below if p.ended is None), NOTHING)
            posted = sum((p.spent for p in below), NOTHING)
            disputed = self.disputed(balance.account)
            assert (balance.held, balance.posted, balance.disputed) == (held, posted, disputed), balance
            assert (balance.limit_shots, balance.limit_micro_usd) == self.limits.get(
                balance.account, (None, None)
            )
            for limit, used in zip(
                (balance.limit_shots, balance.limit_micro_usd),
                ((held + posted).shots, (held + posted).micro_usd),
                strict=True,
            ):
                assert limit is None or used <= limit


def test_ten_thousand_steps_agree_with_the_model(tmp_path: Path) -> None:
    template = tmp_path / "template.db"
    database = Database(f"sqlite:///{template}")
    for account in RUNS:
        Ledger(database).open_account(account)
    with database.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    LedgerModel.template, LedgerModel.steps = template, 0
    campaign = os.environ.get("SHOTWISE_LEDGER_EXAMPLES")  # more, and others each time
    run_state_machine_as_test(
        LedgerModel,
        settings=settings(
            max_examples=int(campaign or EXAMPLES),
            stateful_step_count=STEPS_AN_EXAMPLE,
            deadline=None,
            database=None,
            derandomize=campaign is None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
    assert LedgerModel.steps >= STEPS
