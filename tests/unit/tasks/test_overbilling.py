"""A run that is billed above its quotes says so, and says where its budget's room went."""

from dataclasses import replace

import pytest

from ledger import Amount, BudgetExceededError, EntryKind, JobKey, Journal, Ledger
from optimizers import Reason
from tasks.loop_tasks import finish
from tasks.overbilling import Overbilling, overbilling_of
from tasks.result import RunResult, final_unmeasured
from tests.unit.tasks.by_hand import MANILA, Run


def billed(journal: Journal, *, usd: float) -> Run:
    """A run of one job, quoted at 100 micro-USD and billed 400."""
    run = Run(journal, usd=usd)
    key = JobKey(run.run_id, 0, 0)
    run.buyer.book.intend(key, device=MANILA, reserved=Amount(10, 100))
    run.buyer.book.mark_submitted(key, "vendor")
    run.buyer.book.mark_done(key, b"outcome", Amount(10, 400))
    return run


def finished(run: Run) -> RunResult:
    state = replace(run.state, reason=Reason.BUDGET_REACHED)
    return finish.fn(run.prepared, run.lease, state, final_unmeasured(run.prepared, state))


def test_what_is_charged_above_its_quote_is_told(journal: Journal) -> None:
    run = billed(journal, usd=600)
    assert finished(run).overbilling == Overbilling(above_quote_usd=300e-6)
    (excess,) = [e for e in Ledger(journal.database).entries(run.account) if e.kind is EntryKind.EXCESS]
    assert excess.note == "0.0003 USD above the quote"


def test_what_is_disputed_is_told_as_what_took_the_room(journal: Journal) -> None:
    run = billed(journal, usd=0.0002)
    assert finished(run).overbilling == Overbilling(300e-6, 300e-6, run.account, disputes_took_room=True)
    (disputed,) = Ledger(journal.database).open_disputes(run.account)
    assert disputed.note.startswith("0.0003 USD above the quote: budget of")
    with pytest.raises(BudgetExceededError, match=f"`shotwise budget disputes {run.account}`"):
        Ledger(journal.database).reserve("more", run.account, Amount(0, 1))


def test_room_that_another_runs_dispute_took_is_told_with_its_account(journal: Journal) -> None:
    first = Run(journal, usd=None)
    ledger = Ledger(journal.database)
    ledger.set_limit("default", micro_usd=1000)
    ledger.reserve("other", "default/default", Amount(0, 600))
    ledger.settle("other", Amount(0, 1600))
    told = overbilling_of(journal.database, first.account, first.run_id)
    assert told == Overbilling(disputes_account="default", disputes_took_room=True)
    ledger.set_limit("default", micro_usd=10_000)
    assert overbilling_of(journal.database, first.account, first.run_id) == Overbilling()
