"""What a provider bills after the end is entered, whichever way it goes."""

from collections.abc import Mapping
from dataclasses import dataclass

import pytest

from backends.prices import Price
from backends.provider import TODAYS, BillLine, Provider, ProviderUnavailable
from ledger import BY_HAND, Amount, Journal, Ledger, Verdict, jobs_of
from ledger.statistics import latest_reconciliation
from tasks.reconcile import DifferenceKind, Discrepancy, count_told, reconcile, reconcile_and_record
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


def test_a_correction_without_room_is_told_as_a_dispute_until_it_ends(journal: Journal, paid: str) -> None:
    """Nobody may take a bill for entered that no limit had room for."""
    ledger = Ledger(journal.database)
    ledger.set_limit(ACCOUNT, micro_usd=250)
    (job,) = jobs_of(journal.database, paid)
    billing = Billing([BillLine(job.vendor_job_id or "", job.token, 1000)])

    def found(*, correct: bool) -> list[Discrepancy]:
        return reconcile_and_record(journal.database, lambda _: billing, correct=correct)  # pyright: ignore

    account = f"{ACCOUNT}/{paid}"
    (first,) = found(correct=True)
    assert (first.kind, first.corrected, first.disputed_micro_usd) == (DifferenceKind.BILL_HIGHER, False, 750)
    assert f"(disputed: no room; `shotwise budget disputes {account}`)" in first.told
    assert count_told([first]) == "1 difference, 1 open dispute"
    for correct in (True, False):
        (later,) = found(correct=correct)
        assert (later.kind, later.token, later.device) == (DifferenceKind.DISPUTED, job.token, "garnet")
        assert (later.journal_micro_usd, later.other_micro_usd, later.corrected) == (250, 1000, False)
        assert f"`shotwise budget disputes {account}`" in later.told
        assert count_told([later]) == "0 differences, 1 open dispute"
    latest = latest_reconciliation(journal.database)
    assert latest is not None
    assert latest[1]["disputed"] == 1
    ledger.resolve(job.token, ledger.open_disputes()[0].step or "", accept=False)
    (higher,) = found(correct=False)
    assert higher.kind is DifferenceKind.BILL_HIGHER


def test_what_a_person_waived_is_not_entered_again(journal: Journal, paid: str) -> None:
    """Though there is room by now, and only what is billed beyond it is owed."""
    ledger = Ledger(journal.database)
    ledger.set_limit(ACCOUNT, micro_usd=250)
    corrected(journal, paid, 1000)
    (dispute,) = ledger.open_disputes()
    ledger.resolve_all([Verdict(dispute.token or "", dispute.step or "", accept=False)], note=BY_HAND)
    ledger.set_limit(ACCOUNT, micro_usd=5000)
    for _ in range(2):
        (found,) = corrected(journal, paid, 1000)
        assert (found.waived, found.corrected, found.remains) == (True, False, False)
        assert found.told == "(waived)"
        assert [amount.micro_usd for amount in entered(journal, paid)] == [250, 0]
    (found,) = corrected(journal, paid, 1100)
    assert found.corrected
    assert [amount.micro_usd for amount in entered(journal, paid)] == [350, 0]
    (found,) = corrected(journal, paid, 1100)
    assert found.waived
    assert corrected(journal, paid, 350) == []
    assert ledger.audit() == []


def test_a_correction_with_room_is_corrected_although_another_part_is_disputed(
    journal: Journal, paid: str
) -> None:
    ledger = Ledger(journal.database)
    ledger.set_limit(ACCOUNT, micro_usd=250)
    corrected(journal, paid, 1000)
    ledger.set_limit(ACCOUNT, micro_usd=500)
    (found,) = corrected(journal, paid, 1100)
    assert found.corrected
    assert [amount.micro_usd for amount in entered(journal, paid)] == [350, 750]


def test_the_nightly_flow_names_disputes(
    journal: Journal, paid: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows import reconcile as nightly

    row = Discrepancy(DifferenceKind.DISPUTED, "garnet", "t", 1, 3, account="lab/p/run", disputed_micro_usd=2)
    kept: dict[str, str] = {}
    monkeypatch.setattr(nightly, "compare_records", lambda correct: [row])
    monkeypatch.setattr(
        nightly, "create_markdown_artifact", lambda text, **told: kept.update(told, text=text)
    )
    (result,) = nightly.reconcile_ledger.fn()
    assert "`shotwise budget disputes lab/p/run`" in kept["text"]
    assert kept["description"] == "0 differences, 1 open dispute"
    assert (result["kind"], result["account"], result["disputed_micro_usd"]) == ("disputed", "lab/p/run", 2)
