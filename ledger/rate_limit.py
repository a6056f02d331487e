"""How often a provider account may be sent jobs, counted where every driver of that account looks.

The last submissions of an account are kept in the database, at most as many as its limit allows in a window,
so that no window of that length holds more, whichever processes and machines sent them. A driver that dies
holds nothing back.
"""

from __future__ import annotations

from sqlalchemy import Connection, func, insert, select, text, update

from ledger.database import Database
from ledger.tables import account_submissions as submissions

_SKEW_US = 5_000_000
"""Clocks of drivers may differ by this much; what lies further ahead is of a clock that has jumped."""


def claim_submission(database: Database, account: str, per_minute_max: float, at_us: int) -> float:
    """Enter one submission of an account, if its limit has room for it now.

    Args:
        per_minute_max: from 60 on, it is held in every second; below, in every minute.
        at_us: now, microseconds since the epoch.

    Returns:
        0.0 where it was entered; else the seconds after which to ask again.
    """
    count, window_us = _window(per_minute_max)
    with database.write() as connection:
        _serialize_claims(connection, account)
        mine = submissions.c.account == account
        ahead = submissions.c.at_us > at_us + _SKEW_US
        connection.execute(update(submissions).where(mine, ahead).values(at_us=at_us))
        known = connection.execute(select(func.count()).where(mine)).scalar_one()
        if known < count:
            connection.execute(insert(submissions).values(account=account, slot=known, at_us=at_us))
            return 0.0
        oldest = select(submissions.c.slot, submissions.c.at_us).where(mine).order_by(submissions.c.at_us)
        slot, sent_us = connection.execute(oldest.limit(1)).one()
        if sent_us + window_us > at_us:
            return (sent_us + window_us - at_us) / 1e6
        connection.execute(update(submissions).where(mine, submissions.c.slot == slot).values(at_us=at_us))
        return 0.0


def _window(per_minute_max: float) -> tuple[int, int]:
    """(submissions, microseconds): no window of that length holds more."""
    if per_minute_max >= 60:
        return int(per_minute_max / 60), 1_000_000
    count = max(int(per_minute_max), 1)
    return count, round(60_000_000 * count / per_minute_max)


def _serialize_claims(connection: Connection, account: str) -> None:
    """One claim at a time. On SQLite every writing transaction is."""
    if connection.dialect.name == "postgresql":
        lock = text("SELECT pg_advisory_xact_lock(7240532, hashtext(:account))")
        connection.execute(lock, {"account": account})
