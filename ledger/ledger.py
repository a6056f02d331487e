"""The ledger as most callers use it: each operation a transaction of its own.

Code that must commit a row of its own together with an operation uses the functions of
`ledger.reservations` in its own transaction instead.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select

from ledger import accounts, early_release, fast_path, reservations
from ledger.accounts import UNCHANGED, Unchanged
from ledger.amounts import Amount, Balance, Currency
from ledger.audit import Difference, audit
from ledger.database import Database
from ledger.records import now_us
from ledger.rules import Entry, EntryKind, Reservation, Verdict
from ledger.tables import accounts as accounts_table
from ledger.tables import entries as entries_table

_PAGE = 100


class Ledger:
    """Budgets of a tree of accounts, in one database."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def open_account(self, account: str) -> None:
        """Make an account, and those above it, where they do not exist; without limits."""
        with early_release.write(self.database) as connection:
            accounts.open_account(connection, account, at_us=now_us())

    def open_limited(self, account: str, *, shots: int | None, micro_usd: int | None, note: str) -> None:
        """As `open_account`, with limits; see `ledger.accounts.limit_once`."""
        at = now_us()
        with early_release.write(self.database) as connection:
            accounts.open_account(connection, account, at_us=at)
            accounts.limit_once(connection, account, shots=shots, micro_usd=micro_usd, at_us=at, note=note)

    def set_limit(
        self,
        account: str,
        *,
        shots: int | Unchanged | None = UNCHANGED,
        micro_usd: int | Unchanged | None = UNCHANGED,
        note: str = "",
    ) -> Balance:
        """Limit an account and all below it; what is not named stays, None takes a limit away.

        Raises:
            LimitTooLowError: a limit below what is spent and held.
            SpecError: no such account.
        """
        with early_release.write(self.database) as connection:
            return accounts.set_limit(
                connection, account, shots=shots, micro_usd=micro_usd, at_us=now_us(), note=note
            )

    def freeze(self, account: str, *, note: str = "") -> Balance:
        """See `ledger.accounts.freeze`."""
        with early_release.write(self.database) as connection:
            return accounts.freeze(connection, account, at_us=now_us(), note=note)

    def reserve(self, token: str, account: str, amount: Amount, *, note: str = "") -> Reservation:
        """See `ledger.reservations.reserve`."""
        reservations.check_token(token)
        at = now_us()
        made = fast_path.reserve(self.database, token, account, amount, at_us=at, note=note)
        if made is not None:
            return made
        with early_release.write(self.database) as connection:
            return reservations.reserve(connection, token, account, amount, at_us=at, note=note)

    def settle(self, token: str, actual: Amount, *, note: str = "") -> Reservation:
        """See `ledger.reservations.settle`."""
        at = now_us()
        ended = fast_path.end(self.database, token, actual, at_us=at, note=note)
        if ended is not None:
            return ended
        with early_release.write(self.database) as connection:
            return reservations.settle(connection, token, actual, at_us=at, note=note)

    def release(self, token: str, *, note: str = "") -> Reservation:
        """See `ledger.reservations.release`."""
        at = now_us()
        ended = fast_path.end(self.database, token, None, at_us=at, note=note)
        if ended is not None:
            return ended
        with early_release.write(self.database) as connection:
            return reservations.release(connection, token, at_us=at, note=note)

    def correct(self, token: str, reference: str, delta: Amount, *, note: str = "") -> Reservation:
        """See `ledger.reservations.correct`."""
        with early_release.write(self.database) as connection:
            return reservations.correct(connection, token, reference, delta, at_us=now_us(), note=note)

    def resolve(self, token: str, step: str, *, accept: bool, note: str = "") -> Reservation:
        """See `ledger.reservations.resolve`."""
        with early_release.write(self.database) as connection:
            return reservations.resolve(connection, token, step, accept=accept, at_us=now_us(), note=note)

    def resolve_all(self, verdicts: Sequence[Verdict], *, note: str = "") -> None:
        """End disputes of one tenant, all of them or none.

        Raises: as `ledger.reservations.resolve`; nothing was changed.
        """
        at = now_us()
        with early_release.write(self.database) as connection:
            for each in verdicts:
                reservations.resolve(
                    connection, each.token, each.step, accept=each.accept, at_us=at, note=note
                )

    def find(self, token: str) -> Reservation:
        """A reservation as it is now. Raises ReservationError where there is none."""
        with self.database.read() as connection:
            return reservations.find(connection, token)

    def balance(self, account: str) -> Balance:
        """One account. Raises SpecError where there is none."""
        with self.database.read() as connection:
            return accounts.balances_to(connection, account)[-1]

    def balances_to(self, account: str) -> list[Balance]:
        """From the tenant down to one account. Raises SpecError where there is none."""
        with self.database.read() as connection:
            return accounts.balances_to(connection, account)

    def available(self, account: str, currency: Currency) -> dict[str, int]:
        """What an account and those above it may still reserve: of each that exists and has a limit."""
        with self.database.read() as connection:
            known = accounts.balances_of(connection, accounts.path_to(account))
        available = {balance.account: balance.left(currency) for balance in known}
        return {path: left for path, left in available.items() if left is not None}

    def balances(self, under: str | None = None) -> list[Balance]:
        """Every account, or one and all below it, each before those below it."""
        with self.database.read() as connection:
            return accounts.all_balances(connection, under)

    def entries(self, account: str, *, before: int | None = None, limit: int = _PAGE) -> list[Entry]:
        """A page of the entries of an account and all below it, newest first.

        Args:
            before: only entries with a smaller id; the last id of a page leads to the next.
        """
        query = _under(account).order_by(entries_table.c.entry_id.desc()).limit(limit)
        if before is not None:
            query = query.where(entries_table.c.entry_id < before)
        return self._entries(query)

    def open_disputes(self, account: str | None = None) -> list[Entry]:
        """What was billed and neither accepted nor waived yet, at or below an account or all, in order."""
        every = select(entries_table) if account is None else _under(account)
        query = every.where(entries_table.c.kind == EntryKind.DISPUTED)
        disputed = self._entries(query.order_by(entries_table.c.entry_id))
        closed = {(entry.token, entry.step) for entry in disputed}
        return [
            entry
            for entry in disputed
            if not entry.amount.has_negative and (entry.token, f"verdict:{entry.step}") not in closed
        ]

    def audit(self) -> list[Difference]:
        """Every difference between balances and entries, in one consistent read; empty when all is right."""
        with self.database.snapshot() as connection:
            return audit(connection)

    def _entries(self, query) -> list[Entry]:
        with self.database.read() as connection:
            return [reservations.entry_of(row) for row in connection.execute(query)]


def _under(account: str):
    below = select(accounts_table.c.path).where(accounts.at_or_below(account))
    return select(entries_table).where(entries_table.c.account.in_(below))
