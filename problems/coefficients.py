"""How large and how small the numbers of a Hamiltonian may be that somebody wrote."""

from __future__ import annotations

from collections.abc import Iterable

from shotwise.errors import SpecError

_SUM_MAX = 1e100
_LARGEST_MIN = 1e-100


def check_magnitudes(coefficients: Iterable[float], field: str) -> None:
    """Raise SpecError at `field` where variances, made of squares and products, would overflow or vanish.

    Args:
        coefficients: finite; those of the identity left out, which have no variance.
    """
    sizes = [abs(coefficient) for coefficient in coefficients]
    if sum(sizes) > _SUM_MAX:
        raise SpecError(field, sum(sizes), f"too large, above {_SUM_MAX:g} in all", "scale them down")
    if max(sizes) < _LARGEST_MIN:
        raise SpecError(field, max(sizes), f"too small, all below {_LARGEST_MIN:g}", "scale them up")
