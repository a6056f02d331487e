"""The energy as a trigonometric polynomial of each parameter: what coordinate-wise optimizers rely on."""

from __future__ import annotations

from fractions import Fraction
from math import gcd, lcm

import numpy as np

from problems.circuit import Circuit
from shotwise.errors import SpecError

DEGREE_MAX = 512
"""2 * degree + 1 energies refit one parameter."""

_DENOMINATOR_MAX = 1000
_COMMENSURATE_RELATIVE = 1e-9


def spectrum(circuit: Circuit) -> tuple[tuple[float, int], ...]:
    """(base, degree) of each parameter: E(t) = sum over k <= degree of a_k cos(k base t) + b_k sin(k base t).

    A Pauli rotation of scale s has eigenvalues +-s/2 and so frequency |s|; an excitation has 0, +-s/2 and
    so |s|/2 and |s| (arXiv:2107.12390). Rotations that share a parameter add their highest
    frequencies, over the greatest common measure of all. The degree is an upper bound.

    Raises:
        SpecError: at ``optimizer.name``, for rotosolve: the scales that share a parameter have no common
            measure that keeps the degree within `DEGREE_MAX`.
    """
    return tuple(_of_parameter(circuit, parameter) for parameter in range(circuit.n_parameters))


def _of_parameter(circuit: Circuit, parameter: int) -> tuple[float, int]:
    rows = np.flatnonzero((circuit.parameter == parameter) & (circuit.scale != 0.0))
    if not len(rows):
        return 1.0, 0
    highest = np.abs(circuit.scale[rows])
    steps = np.where(circuit.excitation[rows], 0.5, 1.0) * highest
    unit = steps.min()
    ratios = [Fraction(float(step / unit)).limit_denominator(_DENOMINATOR_MAX) for step in np.unique(steps)]
    exact = np.array([float(ratio) for ratio in ratios])
    commensurate = np.allclose(exact, np.unique(steps) / unit, rtol=_COMMENSURATE_RELATIVE, atol=0.0)
    base = float(unit) * float(_measure(ratios))
    degree = round(float(highest.sum()) / base)
    if not commensurate or degree > DEGREE_MAX:
        raise SpecError(
            "optimizer.name",
            "rotosolve",
            f"the rotations that share parameter {parameter} have no common frequency",
            "use weights that are small whole multiples of one number, or another optimizer",
        )
    return base, degree


def _measure(ratios: list[Fraction]) -> Fraction:
    """Greatest fraction that divides all of them."""
    return Fraction(gcd(*(r.numerator for r in ratios)), lcm(*(r.denominator for r in ratios)))
