"""Units of energies. Not in `shotwise.spec`, which is slow to import where a table is shown."""

from __future__ import annotations


def unit_of(kind: str) -> str:
    """The unit of energies of a problem's kind; "" where they have none."""
    return "Ha" if kind == "molecule" else ""
