"""Energies of one batch from several devices, combined without hiding that they may disagree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from measurement.estimator import Estimates


@dataclass(frozen=True, eq=False)
class Combination:
    """Combined energies, and whether the devices agree.

    Attributes:
        estimates: means over the devices; variances are widened where the devices disagree.
        chi_square: sum over devices and points of squared deviations in units of their errors.
        degrees_of_freedom: (devices - 1) * points.
    """

    estimates: Estimates
    chi_square: float
    degrees_of_freedom: int

    @property
    def disagreement(self) -> float | None:
        """Chi square per degree of freedom where it exceeds what noise explains by five deviations."""
        freedom = self.degrees_of_freedom
        if not freedom or self.chi_square <= freedom + 5 * np.sqrt(2 * freedom):
            return None
        return self.chi_square / freedom


def combine(parts: Sequence[Estimates], shots: np.ndarray) -> Combination:
    """Energies of every point as means over devices by the shots that were asked of each.

    One device's are taken as they are. Shots stand for the variances that are expected: a device's own
    estimate of its variance is correlated with its mean (where no rare outcome was seen, both are low), so
    that inverse estimated variances bias the mean and shrink its error (Meier, Biometrics 9, 59 (1953)).

    Where chi square per degree of freedom, weighted as the means are, is above 1, variances are multiplied by
    it (the Birge ratio, Phys. Rev. 40, 207 (1932)): devices whose biases differ are not averaged into a small
    error bar.

    Args:
        shots: shape (devices, points).
    """
    if len(parts) == 1:
        return Combination(parts[0], 0.0, 0)
    means = np.array([part.means for part in parts])
    variances = np.array([part.variances for part in parts])
    total = shots.sum(axis=0)
    weights = shots / total
    mean = (weights * means).sum(axis=0)
    # expected of devices that agree, however differently they scatter: one for each device but one
    expected = (shots * variances * (1 - weights)).sum(axis=0)
    found = (weights * (means - mean) ** 2).sum(axis=0) * total
    chi_square = float((found / np.maximum(expected, 1e-300)).sum()) * (len(parts) - 1)
    freedom = (len(parts) - 1) * means.shape[1]
    birge = max(1.0, chi_square / freedom)
    return Combination(Estimates(mean, birge * (weights**2 * variances).sum(axis=0)), chi_square, freedom)
