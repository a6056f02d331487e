"""What the ledger refuses, each in one line.

CannotRunError
├── BudgetExceededError   3  a reservation or charge would break a limit; nothing was changed
└── LimitTooLowError      3  a limit below what is already spent and held
ShotwiseError
└── ReservationError      4  a token used in two ways, ended in two ways, or unknown: a bug or a wrong bill
"""

from __future__ import annotations

from ledger.amounts import Currency, quantity
from shotwise.errors import CannotRunError, ShotwiseError


class BudgetExceededError(CannotRunError):
    """A limit would be broken; nothing was changed.

    Attributes:
        account: the one whose limit it is: the account asked for, or one above it.
        currency: which limit.
        asked, left: in that currency's unit; left is never below 0.
    """

    def __init__(self, account: str, currency: Currency, asked: int, left: int) -> None:
        self.account, self.currency, self.asked, self.left = account, currency, asked, left
        asked_and_left = f"asked {quantity(currency, asked)}, left {quantity(currency, left)}"
        remedy = "raise it with `shotwise budget set`, or ask for less"
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
            "choose a limit that is not below it, or wait until reservations end",
        )


class ReservationError(ShotwiseError):
    """A reservation is asked for something that contradicts what is entered; nothing was changed."""
