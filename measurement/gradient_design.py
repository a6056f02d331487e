"""Gradients from energies: each way to get one is a linear design, points to measure and how they combine.

An energy and its gradient are linear in the measured energies, so that errors and the sharing of shots
follow from the weights alone, whichever way was chosen.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from measurement.parameter_shift import ShiftRule
from problems.circuit import Circuit


@dataclass(frozen=True, eq=False)
class GradientDesign:
    """What to measure around one point.

    Attributes:
        angles: radians, shape (rows, rotations).
        weights: shape (rows, 1 + d): the energy, then the d derivatives, as sums over measured energies.
    """

    angles: np.ndarray
    weights: np.ndarray

    def __len__(self) -> int:
        return len(self.angles)

    def combine(
        self, means: np.ndarray, variances: np.ndarray
    ) -> tuple[float, float, np.ndarray, np.ndarray]:
        """Energies of the rows, shape (rows,) -> (value, its variance, gradient, its variances)."""
        found, errors = means @ self.weights, variances @ self.weights**2
        return float(found[0]), float(errors[0]), found[1:], errors[1:]

    def shots(self, wanted: np.ndarray) -> np.ndarray:
        """Shots of every row where the energy and each derivative shall get `wanted`, shape (1 + d,).

        A derivative's shots are shared by its |weights|, which is optimal for equal variances.
        """
        size = np.abs(self.weights)
        totals = size.sum(axis=0)
        share = np.divide(size, totals, out=np.zeros_like(size), where=totals > 0)
        return share @ wanted


def all_shifts(circuit: Circuit, rule: ShiftRule, point: np.ndarray) -> GradientDesign:
    """Every shift of every parameter (see `measurement.parameter_shift`), the point itself first."""
    return _shifted(circuit, rule, point, np.ones(len(rule), dtype=bool), 1.0)


def coordinate_subset(
    circuit: Circuit, rule: ShiftRule, point: np.ndarray, size: int, rng: np.random.Generator
) -> GradientDesign:
    """Shifts of `size` random parameters; their derivatives times d / size, the others 0: no bias."""
    chosen = rng.choice(circuit.n_parameters, size=min(size, circuit.n_parameters), replace=False)
    kept = np.isin(rule.parameter, chosen)
    return _shifted(circuit, rule, point, kept, circuit.n_parameters / len(chosen))


def simultaneous(
    circuit: Circuit, point: np.ndarray, pairs: int, step: float, rng: np.random.Generator
) -> GradientDesign:
    """Pairs at point +- step * Delta with random signs Delta (Spall, IEEE TAC 37, 332 (1992)), averaged.

    The energy is the pairs' mean, above that of the point by about step^2/2 times the curvature's trace.
    """
    signs = rng.choice([-1.0, 1.0], size=(pairs, circuit.n_parameters))
    points = np.concatenate([point + step * signs, point - step * signs])
    slopes = np.concatenate([signs, -signs]) / (2 * step * pairs)
    value = np.full((2 * pairs, 1), 1 / (2 * pairs))
    return GradientDesign(circuit.angles(points), np.hstack([value, slopes]))


def _shifted(
    circuit: Circuit, rule: ShiftRule, point: np.ndarray, kept: np.ndarray, factor: float
) -> GradientDesign:
    rows = np.flatnonzero(kept)
    angles = np.repeat(circuit.angles(point[None, :]), 1 + len(rows), axis=0)
    angles[1 + np.arange(len(rows)), rule.rotation[rows]] += rule.shift[rows]
    weights = np.zeros((1 + len(rows), 1 + circuit.n_parameters))
    weights[0, 0] = 1.0
    weights[1 + np.arange(len(rows)), 1 + rule.parameter[rows]] = factor * rule.factor[rows]
    return GradientDesign(angles, weights)
