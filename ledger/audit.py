"""The ledger checked against itself: every balance computed again from the entries, every token's story."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sqlalchemy import Connection, case, func, or_, select

from ledger.accounts import all_balances, path_to
from ledger.amounts import NOTHING, Amount, Balance, Currency
from ledger.rules import END_STEP, RESERVE_STEP, EntryKind
from ledger.tables import entries

_SPENT = (EntryKind.SETTLE, EntryKind.EXCESS, EntryKind.CORRECTION)
_LIMITS = select(entries).where(
    entries.c.entry_id.in_(
        select(func.max(entries.c.entry_id))
        .where(entries.c.kind == EntryKind.LIMIT)
        .group_by(entries.c.account)
    )
)
_BY_KIND = (
    select(entries.c.account, entries.c.kind, func.sum(entries.c.shots), func.sum(entries.c.micro_usd))
    .where(entries.c.kind != EntryKind.LIMIT)
    .group_by(entries.c.account, entries.c.kind)
)
_ended = entries.alias("ended")
_FREED = (
    select(entries.c.account, func.sum(entries.c.shots), func.sum(entries.c.micro_usd))
    .join(_ended, (_ended.c.token == entries.c.token) & (_ended.c.step == END_STEP))
    .where(entries.c.step == RESERVE_STEP)
    .group_by(entries.c.account)
)
_reserves, _ends = (func.sum(case((entries.c.step == step, 1), else_=0)) for step in (RESERVE_STEP, END_STEP))
_accounts = func.count(entries.c.account.distinct())
_spent_shots, _spent_micro_usd = (
    func.sum(case((entries.c.kind.in_(_SPENT), column), else_=0))
    for column in (entries.c.shots, entries.c.micro_usd)
)
_INCONSISTENT = (
    select(entries.c.token, _reserves, _ends, _accounts, _spent_shots, _spent_micro_usd)
    .where(entries.c.kind != EntryKind.LIMIT)
    .group_by(entries.c.token)
    .having(or_(_reserves != 1, _ends > 1, _accounts != 1, _spent_shots < 0, _spent_micro_usd < 0))
)


@dataclass(frozen=True)
class Difference:
    """Something in the ledger that cannot be.

    Attributes:
        where: account or token.
        what: what differs, `entered` as the tables have it, `computed` as the entries give it.
    """

    where: str
    what: str
    entered: str
    computed: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what} is {self.entered}, and {self.computed} by the entries"


def audit(connection: Connection) -> list[Difference]:
    """Every difference between the balances and the entries; empty when the books are right.

    The connection must see one state throughout, as that of `Database.snapshot` does.
    """
    entered = all_balances(connection)
    computed = _from_entries(connection, entered)
    differences = [
        Difference(
            balance.account, part, str(getattr(balance, part)), str(getattr(computed[balance.account], part))
        )
        for balance in entered
        for part in ("limit_shots", "limit_micro_usd", "held", "posted", "disputed")
        if getattr(balance, part) != getattr(computed[balance.account], part)
    ]
    return differences + _over_limit(entered) + _inconsistent_tokens(connection)


def _from_entries(connection: Connection, known: list[Balance]) -> dict[str, Balance]:
    """What every account's balance must be, by its entries and those of the accounts below it."""
    balances = {balance.account: Balance(balance.account, None, None) for balance in known}
    for row in connection.execute(_LIMITS):
        limits = {"limit_shots": row.shots, "limit_micro_usd": row.micro_usd}
        balances[row.account] = replace(balances[row.account], **limits)
    for account, moved in _moved(connection):
        for path in path_to(account):
            now = balances[path]
            balances[path] = replace(
                now,
                held=now.held + moved.held,
                posted=now.posted + moved.posted,
                disputed=now.disputed + moved.disputed,
            )
    return balances


def _moved(connection: Connection) -> list[tuple[str, Balance]]:
    """What the entries of each account alone add up to."""
    totals = {}
    for account, kind, shots, micro_usd in connection.execute(_BY_KIND):
        totals[account, EntryKind(kind)] = Amount(int(shots), int(micro_usd))
    freed = {
        account: Amount(int(shots), int(micro_usd))
        for account, shots, micro_usd in connection.execute(_FREED)
    }
    moved = []
    for account in sorted({account for account, _ in totals}):
        of = {kind: totals.get((account, kind), NOTHING) for kind in EntryKind}
        held = of[EntryKind.RESERVE] - freed.get(account, NOTHING)
        posted = of[EntryKind.SETTLE] + of[EntryKind.EXCESS] + of[EntryKind.CORRECTION]
        moved.append((account, Balance(account, None, None, held, posted, of[EntryKind.DISPUTED])))
    return moved


def _over_limit(entered: list[Balance]) -> list[Difference]:
    """Limits broken; the database refuses this, and we look all the same."""
    return [
        Difference(
            balance.account, f"{currency} spent and held", str(balance.used(currency)), f"limited to {limit}"
        )
        for balance in entered
        for currency in Currency
        if (limit := balance.limit(currency)) is not None and balance.used(currency) > limit
    ]


def _inconsistent_tokens(connection: Connection) -> list[Difference]:
    """Tokens that spend without a reservation, end on another account, or gave back more than they spent."""
    return [
        Difference(
            token,
            "story",
            f"{reserved} promises, {ended} ends, {accounts} accounts, {shots} shots, {micro_usd} micro-USD",
            "1 promise, at most 1 end, 1 account, nothing below 0",
        )
        for token, reserved, ended, accounts, shots, micro_usd in connection.execute(_INCONSISTENT)
    ]
