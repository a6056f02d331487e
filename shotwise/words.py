"""Numbers of things, and times, in a sentence."""

from __future__ import annotations

import math

_TENTHS_BELOW_S = 9.95


def quantity(count: int, noun: str, plural: str | None = None) -> str:
    """A number and its noun: "1 qubit", "12 qubits"; other plurals than with an s are given."""
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"


def duration(seconds: float) -> str:
    """A time as a person says it, in its two largest units: "3 h 5 min", "1 min 30 s", "2.5 s"."""
    if not math.isfinite(seconds):
        return "no known time"
    if seconds < 0:
        return f"-{duration(-seconds)}"
    if seconds < _TENTHS_BELOW_S:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    whole, minutes, hours = round(seconds), round(seconds / 60), round(seconds / 3600)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        first, rest = f"{whole // 60} min", (whole % 60, "s")
    elif minutes < 24 * 60:
        first, rest = f"{minutes // 60} h", (minutes % 60, "min")
    else:
        first, rest = quantity(hours // 24, "day"), (hours % 24, "h")
    return f"{first} {rest[0]} {rest[1]}" if rest[0] else first
