"""Amounts of the two currencies, and what an account holds of them. Integers only: money is micro-USD.

Invariant of every account and currency: `posted + held <= limit`, each of them at least 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

AMOUNT_MAX = 10**15
"""Most that one operation may move, in shots or micro-USD (a billion USD)."""
TOTAL_MAX = 2**62
"""Most that an account without a limit may come to: sums stay exact in 64 bits."""

_CENT = 10_000


class Currency(StrEnum):
    """What is limited."""

    SHOTS = "shots"
    MICRO_USD = "micro_usd"


@dataclass(frozen=True)
class Amount:
    """So many shots and so much money; negative where something is given back."""

    shots: int = 0
    micro_usd: int = 0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if type(value) is not int:
                raise TypeError(f"{name} must be an int, not {type(value).__name__}")

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.shots + other.shots, self.micro_usd + other.micro_usd)

    def __sub__(self, other: Amount) -> Amount:
        return Amount(self.shots - other.shots, self.micro_usd - other.micro_usd)

    def __neg__(self) -> Amount:
        return Amount(-self.shots, -self.micro_usd)

    def __bool__(self) -> bool:
        return self != NOTHING

    def __str__(self) -> str:
        return " and ".join(quantity(currency, self.of(currency)) for currency in Currency)

    @property
    def told(self) -> str:
        """As `str`, less the currency of which there is nothing."""
        return " and ".join(quantity(c, self.of(c)) for c in Currency if self.of(c)) or str(self)

    @property
    def usd(self) -> float:
        """The money, for what shows or draws it."""
        return self.micro_usd / 1e6

    def of(self, currency: Currency) -> int:
        return self.shots if currency == Currency.SHOTS else self.micro_usd

    def at_most(self, other: Amount) -> Amount:
        """The smaller of both, currency by currency."""
        return Amount(min(self.shots, other.shots), min(self.micro_usd, other.micro_usd))

    @property
    def has_negative(self) -> bool:
        return self.shots < 0 or self.micro_usd < 0


NOTHING = Amount()


@dataclass(frozen=True)
class Balance:
    """One account, both currencies.

    Attributes:
        account: path from the tenant: ``acme/h2/h2-1f00``.
        limit_shots, limit_micro_usd: None where there is no limit.
        held: of reservations that have not ended.
        posted: spent for good.
        disputed: billed to us and not accepted as spent. The limit does not bound it, since nobody here could
            refuse it; but it takes its room from new reservations until it is accepted or waived.
    """

    account: str
    limit_shots: int | None
    limit_micro_usd: int | None
    held: Amount = NOTHING
    posted: Amount = NOTHING
    disputed: Amount = NOTHING

    def limit(self, currency: Currency) -> int | None:
        return self.limit_shots if currency == Currency.SHOTS else self.limit_micro_usd

    def used(self, currency: Currency) -> int:
        """Posted and held together: what a limit bounds."""
        return (self.posted + self.held).of(currency)

    def left(self, currency: Currency) -> int | None:
        """What may still be reserved here; None where there is no limit. An account above may have less."""
        limit = self.limit(currency)
        return None if limit is None else max(limit - self.used(currency) - self.disputed.of(currency), 0)


def dollars(micro_usd: int, places: int = 2) -> str:
    """Money rounded, as tables show it: ``$1,234.50``; below a cent to more places: ``$0.0031``."""
    if 0 < abs(micro_usd) < _CENT:
        places = max(places, 4 if abs(micro_usd) >= _CENT // 100 else 6)
    return f"${micro_usd / 1e6:,.{places}f}"


def quantity(currency: Currency, value: int) -> str:
    """An amount as people read it, exact: ``1,000 shots``, ``0.30145 USD``."""
    if currency == Currency.SHOTS:
        return f"{value:,} shots"
    cents = Decimal(value).scaleb(-6).quantize(Decimal("0.01")) if value % 10_000 == 0 else None
    exact = cents if cents is not None else Decimal(value).scaleb(-6).normalize()
    return f"{exact:,f} USD"
