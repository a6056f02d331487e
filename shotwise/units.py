"""Units of energies, and counts. Not in `shotwise.spec`, which is slow to import where a table is shown."""

from __future__ import annotations


def unit_of(kind: str) -> str:
    """The unit of energies of a problem's kind; "" where they have none."""
    return "Ha" if kind == "molecule" else ""


def counted(number: int, noun: str) -> str:
    """So many of something: ``1 run``, ``2 runs``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
