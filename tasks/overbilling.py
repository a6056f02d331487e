"""What a run was billed above its quotes, and whether disputes left its budget no room."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ledger import Balance, Currency, Database, Ledger, above_quotes_micro_usd, dollars


@dataclass(frozen=True)
class Overbilling:
    """Bills that no quote had told.

    Attributes:
        above_quote_usd: what ended jobs cost above what was reserved for each, charged or disputed.
        disputed_usd: what is disputed at the run's account.
        disputes_account: where to look at disputes: the run's account, or one above it whose room they took.
        disputes_took_room: disputes leave some budget of the run less room than they took there.
    """

    above_quote_usd: float = 0.0
    disputed_usd: float = 0.0
    disputes_account: str | None = None
    disputes_took_room: bool = False

    @property
    def warning(self) -> str | None:
        """What a person should know of it; None where every bill was as quoted."""
        told = []
        if self.above_quote_usd:
            told.append(f"billed {_dollars(self.above_quote_usd)} above the quotes")
        if self.disputed_usd:
            where = f"`shotwise budget disputes {self.disputes_account}`"
            told.append(f"{_dollars(self.disputed_usd)} is disputed and takes its room: {where}")
        return "; ".join(told) or None


AS_QUOTED = Overbilling()


def overbilling_of(database: Database, account: str, run_id: str) -> Overbilling:
    """As journal and ledger have it now."""
    path = Ledger(database).balances_to(account)
    disputed, blocked = path[-1].disputed, _without_room(path)
    return Overbilling(
        above_quotes_micro_usd(database, run_id) / 1e6,
        disputed.usd,
        account if disputed else blocked,
        blocked is not None,
    )


def _without_room(path: Sequence[Balance]) -> str | None:
    """The account, the nearest to the run, whose disputes took more room than is left there."""
    return next(
        (
            balance.account
            for balance in reversed(path)
            for currency in Currency
            if (left := balance.left(currency)) is not None and left < balance.disputed.of(currency)
        ),
        None,
    )


def _dollars(usd: float) -> str:
    return dollars(round(usd * 1e6))
