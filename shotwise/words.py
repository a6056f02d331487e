"""Numbers of things in a sentence."""

from __future__ import annotations


def quantity(count: int, noun: str, plural: str | None = None) -> str:
    """A number and its noun: "1 qubit", "12 qubits"; other plurals than with an s are given."""
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"
