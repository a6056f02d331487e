"""Units of energies. Not in `shotwise.spec`, whose models are slow to import where only a table is shown."""

from __future__ import annotations


def unit_of(kind: str) -> str:
    """The unit of energies of a problem's kind; "" where they have none."""
    return "Ha" if kind == "molecule" else ""
