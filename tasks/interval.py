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
