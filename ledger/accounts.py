"""The tree of accounts: tenant > project > run, named by paths like ``acme/h2/h2-1f00``.

An account's path names all accounts above it, so what is posted to one is posted to all of them
without a look-up. Rows on a path are always locked from the root down: no two operations can deadlock.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum

from sqlalchemy import Connection, Row, Select, bindparam, insert, select, update
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from ledger import rules
from ledger.amounts import Amount, Balance, Currency
from ledger.rules import EntryKind
from ledger.tables import accounts, entries
from shotwise.errors import SpecError

LEVELS_MAX = 3
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")


class Unchanged(Enum):
    """A limit that stays as it is (None would take it away)."""

    UNCHANGED = "unchanged"


UNCHANGED = Unchanged.UNCHANGED


def path_to(account: str) -> list[str]:
    """The accounts from the tenant down to this one.

    Raises:
        SpecError: not a path of one to three names.
    """
    names = account.split("/")
    if len(names) > LEVELS_MAX or not all(_NAME.fullmatch(name) for name in names):
        remedy = (
            "write TENANT, TENANT/PROJECT or TENANT/PROJECT/RUN; names have letters, digits, '.', '_', '-'"
        )
        raise SpecError("account", account, "not an account path", remedy)
    return ["/".join(names[: level + 1]) for level in range(len(names))]


def open_account(connection: Connection, account: str, *, at_us: int) -> None:
    """Make an account, and those above it, where they do not exist; without limits."""
    make = postgresql_insert if connection.dialect.name == "postgresql" else sqlite_insert
    parent = None
    for level, path in enumerate(path_to(account)):
        zeros = {c.name: 0 for c in accounts.c if c.name.startswith(("held", "posted", "disputed"))}
        row = {"path": path, "parent": parent, "level": level, "created_us": at_us, **zeros}
        connection.execute(make(accounts).values(row).on_conflict_do_nothing())
        parent = path


def limit_once(
    connection: Connection,
    account: str,
    *,
    shots: int | None,
    micro_usd: int | None,
    at_us: int,
    note: str,
) -> None:
    """Limit an account unless that was done under this note before: what is changed later stays changed.

    Of a limit that it has already, the tighter one holds.
    """
    now = lock(connection, account)[-1]
    before = select(entries.c.entry_id).where(
        entries.c.account == account, entries.c.kind == EntryKind.LIMIT, entries.c.note == note
    )
    if connection.execute(before.limit(1)).first() is not None:
        return
    set_limit(
        connection,
        account,
        shots=_tighter(shots, now.limit_shots),
        micro_usd=_tighter(micro_usd, now.limit_micro_usd),
        at_us=at_us,
        note=note,
    )


def _tighter(first: int | None, second: int | None) -> int | None:
    return min((limit for limit in (first, second) if limit is not None), default=None)


def set_limit(
    connection: Connection,
    account: str,
    *,
    shots: int | Unchanged | None,
    micro_usd: int | Unchanged | None,
    at_us: int,
    note: str = "",
) -> Balance:
    """Limit what an account and all below it may spend and hold; None takes a limit away.

    Raises:
        LimitTooLowError: a limit below what is spent and held.
        SpecError: no such account.
    """
    now = lock(connection, account)[-1]
    wanted = Balance(
        account,
        now.limit_shots if shots is UNCHANGED else shots,
        now.limit_micro_usd if micro_usd is UNCHANGED else micro_usd,
        now.held,
        now.posted,
        now.disputed,
    )
    if wanted == now:
        return now
    rules.check_limit(wanted)
    limits = {"limit_shots": wanted.limit_shots, "limit_micro_usd": wanted.limit_micro_usd}
    connection.execute(update(accounts).where(accounts.c.path == account).values(**limits))
    connection.execute(
        insert(entries).values(
            account=account,
            kind=EntryKind.LIMIT,
            shots=wanted.limit_shots,
            micro_usd=wanted.limit_micro_usd,
            at_us=at_us,
            note=note,
        )
    )
    return wanted


def freeze(connection: Connection, account: str, *, at_us: int, note: str) -> Balance:
    """Limit an account to exactly what it and all below it have spent and hold now.

    Raises:
        SpecError: no such account.
    """
    used = lock(connection, account)[-1].used
    shots, micro_usd = used(Currency.SHOTS), used(Currency.MICRO_USD)
    return set_limit(connection, account, shots=shots, micro_usd=micro_usd, at_us=at_us, note=note)


def lock(connection: Connection, account: str) -> list[Balance]:
    """The balances from the tenant down to an account, locked against everyone until this transaction ends.

    On SQLite the transaction holds the whole database already.

    Raises:
        SpecError: no such account.
    """
    return _read(connection, account, _path_query().with_for_update(key_share=True))


def balances_to(connection: Connection, account: str) -> list[Balance]:
    """The balances from the tenant down to an account."""
    return _read(connection, account, _path_query())


def all_balances(connection: Connection, under: str | None = None) -> list[Balance]:
    """Every account, or one and all below it, each before those below it."""
    query = select(accounts).order_by(accounts.c.path)
    if under is not None:
        query = query.where(at_or_below(under))
    return sorted((_balance(row) for row in connection.execute(query)), key=lambda b: b.account.split("/"))


def balances_of(connection: Connection, paths: Sequence[str]) -> list[Balance]:
    """Those of the accounts that exist, in the order of their paths."""
    query = select(accounts).where(accounts.c.path.in_(paths)).order_by(accounts.c.path)
    return [_balance(row) for row in connection.execute(query)]


def at_or_below(account: str):
    """Condition on `accounts.path`."""
    return (accounts.c.path == account) | accounts.c.path.startswith(account + "/", autoescape=True)


def _path_query() -> Select[tuple[object, ...]]:
    return (
        select(accounts)
        .where(accounts.c.path.in_(bindparam("path", expanding=True)))
        .order_by(accounts.c.level)
    )


def _read(connection: Connection, account: str, query: Select[tuple[object, ...]]) -> list[Balance]:
    path = path_to(account)
    found = [_balance(row) for row in connection.execute(query, {"path": path})]
    if len(found) != len(path):
        raise SpecError("account", account, "no such account", "list them with `shotwise budget show`")
    return found


def _balance(row: Row) -> Balance:
    return Balance(
        row.path,
        row.limit_shots,
        row.limit_micro_usd,
        Amount(row.held_shots, row.held_micro_usd),
        Amount(row.posted_shots, row.posted_micro_usd),
        Amount(row.disputed_shots, row.disputed_micro_usd),
    )
