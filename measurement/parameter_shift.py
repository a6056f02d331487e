"""Gradients from energies alone: which shifted circuits to run, and how their energies combine.

A Pauli rotation obeys f' = (f(+pi/2) - f(-pi/2)) / 2 (arXiv:1811.11184); an excitation, whose
generator has the eigenvalues -1, 0 and 1, the four-term rule of arXiv:2104.05695. Every rotation
that carries a parameter is shifted on its own, so that shared parameters are exact.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from problems.circuit import FIXED, Circuit

_PAULI = ((np.pi / 2, 0.5), (-np.pi / 2, -0.5))
_NEAR = (np.sqrt(2) + 1) / (4 * np.sqrt(2))
_FAR = (np.sqrt(2) - 1) / (4 * np.sqrt(2))
_EXCITATION = (
    (np.pi / 2, _NEAR),
    (-np.pi / 2, -_NEAR),
    (3 * np.pi / 2, -_FAR),
    (-3 * np.pi / 2, _FAR),
)


@dataclass(frozen=True, eq=False)
class ShiftRule:
    """All shifts of a circuit's gradient.

    Attributes:
        rotation: int64, shape (shifts,): which angle is shifted.
        shift: radians, shape (shifts,).
        parameter: int64, shape (shifts,): which derivative the energy contributes to.
        factor: shape (shifts,): with what weight.
    """

    rotation: np.ndarray
    shift: np.ndarray
    parameter: np.ndarray
    factor: np.ndarray

    @classmethod
    def of(cls, circuit: Circuit) -> ShiftRule:
        rows = [
            (index, shift, int(circuit.parameter[index]), factor * float(circuit.scale[index]))
            for index in range(len(circuit))
            if circuit.parameter[index] != FIXED
            for shift, factor in (_EXCITATION if circuit.excitation[index] else _PAULI)
        ]
        rotation, shift, parameter, factor = zip(*rows, strict=True) if rows else ((), (), (), ())
        return cls(
            np.array(rotation, dtype=np.int64),
            np.array(shift, dtype=np.float64),
            np.array(parameter, dtype=np.int64),
            np.array(factor, dtype=np.float64),
        )

    def __len__(self) -> int:
        return len(self.rotation)
