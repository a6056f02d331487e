"""What a provider bills after the end is entered, whichever way it goes."""

from collections.abc import Mapping
from dataclasses import dataclass

import pytest

from backends.prices import Price
from backends.provider import TODAYS, BillLine, Provider, ProviderUnavailable
from ledger import Amount, Journal, Ledger, jobs_of
from tasks.reconcile import DifferenceKind, Discrepancy, reconcile
from tests.unit.tasks.journals import enter_run

ACCOUNT = "lab/p"


@dataclass
class Billing:
    """A provider of which nothing is known but its bill."""

    lines: list[BillLine]

    def bill(self, prices: Mapping[str, Price] = TODAYS) -> list[BillLine]:
        return self.lines


@pytest.fixture
def paid(journal: Journal) -> str:
    """A run of one job that cost 250 micro-USD."""
    return enter_run(journal, "paid", [-1.0], micro_usd=250)


def corrected(journal: Journal, run_id: str, *costs: int) -> list[Discrepancy]:
    (job,) = jobs_of(journal.database, run_id)
    lines = [BillLine(job.vendor_job_id or "", job.token, cost) for cost in costs]

    def open_provider(_: str) -> Provider:
        return Billing(lines)  # pyright: ignore[reportReturnType]

    return reconcile(journal.database, open_provider, correct=True)


def entered(journal: Journal, run_id: str) -> tuple[Amount, Amount]:
    (job,) = jobs_of(journal.database, run_id)
    reservation = Ledger(journal.database).find(job.token)
    return reservation.spent, reservation.disputed


def test_a_credit_ends_what_was_disputed(journal: Journal, paid: str) -> None:
    """The bill grows above the limit, and is put right by a credit that is larger than what was spent."""
    ledger = Ledger(journal.database)
    ledger.set_limit(ACCOUNT, micro_usd=250)
    corrected(journal, paid, 250, 750)
    assert [amount.micro_usd for amount in entered(journal, paid)] == [250, 750]
    (found,) = corrected(journal, paid, 250, 750, -850)
    assert (found.kind, found.corrected) == (DifferenceKind.BILL_LOWER, True)
    assert [amount.micro_usd for amount in entered(journal, paid)] == [150, 0]
    assert corrected(journal, paid, 250, 750, -850) == []
    assert ledger.audit() == []


def test_a_credit_of_a_part_leaves_the_rest_disputed(journal: Journal, paid: str) -> None:
    Ledger(journal.database).set_limit(ACCOUNT, micro_usd=250)
    corrected(journal, paid, 1000)
    corrected(journal, paid, 1000, -300)
    assert [amount.micro_usd for amount in entered(journal, paid)] == [250, 450]
    assert corrected(journal, paid, 1000, -300) == []


def test_a_provider_that_does_not_answer_is_a_row(journal: Journal, paid: str) -> None:
    def open_provider(_: str) -> Provider:
        raise ProviderUnavailable("away")

    (found,) = reconcile(journal.database, open_provider)
    assert found.kind is DifferenceKind.UNAVAILABLE


def test_a_job_bought_while_the_bill_is_read_is_not_called_unknown(journal: Journal, paid: str) -> None:
    lines = [BillLine(job.vendor_job_id or "", job.token, 250) for job in jobs_of(journal.database, paid)]

    class Buying(Billing):
        def bill(self, prices: Mapping[str, Price] = TODAYS) -> list[BillLine]:
            for job in jobs_of(journal.database, enter_run(journal, "meanwhile", [-1.0], micro_usd=250)):
                self.lines.append(BillLine("another", job.token, 250))
            return self.lines

    def open_provider(_: str) -> Provider:
        return Buying(lines)  # pyright: ignore[reportReturnType]

    assert reconcile(journal.database, open_provider) == []
