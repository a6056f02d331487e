"""What a run cost by the ledger, where its result says otherwise: bills are corrected and disputed later."""

from __future__ import annotations

from dataclasses import dataclass

from ledger import Database, Ledger, RunRecord, dollars
from ledger.amounts import NOTHING
from tasks.run_records import account_of, result_fields


@dataclass(frozen=True)
class CostNow:
    """Money of a run, or of all points of a scan.

    Attributes:
        disputes_account: where what is disputed is listed; None where nothing is.
    """

    spent_usd: float
    disputed_usd: float
    disputes_account: str | None = None

    @property
    def told(self) -> str:
        """In one line."""
        spent, disputed = (dollars(round(usd * 1e6)) for usd in (self.spent_usd, self.disputed_usd))
        where = f" (`shotwise budget disputes {self.disputes_account}`)" if self.disputes_account else ""
        return f"{spent} spent, {disputed} disputed{where}"


def cost_now(database: Database, record: RunRecord) -> CostNow | None:
    """What a run with a result cost by the ledger; None where nothing is disputed and the result agrees."""
    found = result_fields(record)
    points = [point["run_id"] for point in found.get("points", [])]
    ledger = Ledger(database)
    balances = [
        balance
        for run_id in (points or [record.run_id])
        for balance in ledger.balances(account_of(record, run_id))
    ]
    if not found or not balances:
        return None
    posted = sum((balance.posted for balance in balances), NOTHING)
    disputed = sum((balance.disputed for balance in balances), NOTHING)
    if not disputed and posted.micro_usd == round(found.get("cost_usd", posted.usd) * 1e6):
        return None
    where = [balance.account for balance in balances if balance.disputed]
    above = where[0].rpartition("/")[0] if len(where) > 1 else "".join(where)
    return CostNow(posted.usd, disputed.usd, above or None)
