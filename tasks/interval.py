"""The 95 % interval of an energy, the same wherever one is shown, drawn or ranked by.

It imports nothing, for MLflow's process ranks by it too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import numpy as np

_Z_95 = 1.96
"""Standard errors to each side."""

_Numbers = TypeVar("_Numbers", float, "np.ndarray")


def half_width(std_error: _Numbers) -> _Numbers:
    """How far the interval reaches to each side."""
    return _Z_95 * std_error


def upper_end(energy: float, std_error: float) -> float:
    """Where the interval ends: lowest of the best run, so that luck with few shots does not win."""
    return energy + half_width(std_error)


def told(energy: float | None, std_error: float | None, unit: str, *, signed: bool = False) -> str:
    """An energy with its 95 % interval, no more digits than it deserves; a dash where there is none.

    Args:
        signed: with a plus where it is positive, as a difference.
    """
    if energy is None:
        return "–"
    sign, suffix = "+" * signed, f" {unit}" * bool(unit)
    if not std_error:
        return f"{energy:{sign}.{3 if signed else 8}f}{suffix}"
    half = half_width(std_error)
    digits = max(0, min(8, 1 - int(f"{half:e}".rpartition("e")[2])))  # two of the interval
    return f"{energy:{sign}.{digits}f} ± {half:.{digits}f}{suffix}"
