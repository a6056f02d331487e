"""What the ledger refuses, each in one line.

CannotRunError
├── BudgetExceededError   3  a reservation or charge would break a limit; nothing was changed
├── LimitTooLowError      3  a limit below what is already spent and held
└── NotOpenedError        3  a database that cannot be opened
RunFailedError
└── StorageError          4  the database cannot be written or read: disk full, locked, read-only, gone
ShotwiseError
└── ReservationError      4  a token used in two ways, ended in two ways, or unknown: a bug or a wrong bill
"""

from __future__ import annotations

from ledger.amounts import Currency, quantity
from shotwise.errors import CannotRunError, RunFailedError, ShotwiseError


class BudgetExceededError(CannotRunError):
    """A limit would be broken; nothing was changed.

    Attributes:
        account: the one whose limit it is: the account asked for, or one above it.
        currency: which limit.
        asked, left: in that currency's unit; left is never below 0.
        disputed: what more would be left if nothing were disputed there.
    """

    def __init__(self, account: str, currency: Currency, asked: int, left: int, disputed: int = 0) -> None:
        self.account, self.currency, self.asked, self.left = account, currency, asked, left
        self.disputed = disputed
        asked_and_left = f"asked {quantity(currency, asked)}, left {quantity(currency, left)}"
        remedy = "raise it with `shotwise budget set`, or ask for less"
        if disputed:
            asked_and_left += f", disputed {quantity(currency, disputed)}"
            remedy = f"end what is disputed (`shotwise budget disputes {account}`), {remedy}"
        super().__init__(f"budget of {account}", asked_and_left, "not enough left", remedy)
        self.args = (f"budget of {account}: {asked_and_left}; {remedy}",)


class LimitTooLowError(CannotRunError):
    """A new limit lies below what the account has spent and holds; the old limit stays."""

    def __init__(self, account: str, currency: Currency, limit: int, used: int) -> None:
        self.account, self.currency, self.limit, self.used = account, currency, limit, used
        super().__init__(
            f"limit of {account}",
            quantity(currency, limit),
            f"{quantity(currency, used)} are spent or held already",
            f"choose one that is not below it; `shotwise budget set {account} --freeze` sets exactly that",
        )


class NotOpenedError(CannotRunError):
    """A database cannot be opened. Who gave its address, and what they should do, the caller knows.

    Attributes:
        address: without its password.
        cause: as a short clause: the database's own words, or what is wrong with the address.
        unreachable: its server is there to be reached, and is not.
        damaged: its file is there, and is no database or not a whole one.
    """

    def __init__(
        self, address: str, cause: str, remedy: str, *, unreachable: bool = False, damaged: bool = False
    ) -> None:
        self.address, self.cause, self.unreachable, self.damaged = address, cause, unreachable, damaged
        super().__init__("database", address, cause, remedy)


class NoAddressError(NotOpenedError):
    """What was given is not the address of a database that can be used here."""


class ReservationError(ShotwiseError):
    """A reservation is asked for something that contradicts what is entered; nothing was changed."""


class StorageError(RunFailedError):
    """The database failed in a transaction, of which nothing is kept; all that was committed before stays.

    Attributes:
        reason: the database's own words.
        remedy: what to do before `shotwise resume`.
    """

    def __init__(self, database: str, reason: str) -> None:
        self.reason = reason
        self.remedy = next((remedy for words, remedy in _STORAGE_REMEDIES if words in reason.lower()), _LOOK)
        super().__init__(f"{database}: {reason}; what was committed is kept; {self.remedy}")


_LOOK = "see that the database is reachable and writable, then go on with `shotwise resume`"
_STORAGE_REMEDIES = (
    ("full", "free space on its disk, then go on with `shotwise resume`"),
    ("no space", "free space on its disk, then go on with `shotwise resume`"),
    ("i/o error", "see to its disk (space, quota, health), then go on with `shotwise resume`"),
    ("locked", "end the program that holds it, then go on with `shotwise resume`"),
    ("readonly", "make it writable, then go on with `shotwise resume`"),
    ("read-only", "make it writable, then go on with `shotwise resume`"),
    ("malformed", "restore it from a backup, then go on with `shotwise resume`"),
)
