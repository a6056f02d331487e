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
        estimates: inverse-variance means; variances are widened where the devices disagree.
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


def combine(parts: Sequence[Estimates]) -> Combination:
    """Inverse-variance weighted energies of every point; one device's are taken as they are.

    Where chi square per degree of freedom is above 1, variances are multiplied by it (the Birge ratio,
    Phys. Rev. 40, 207 (1932)): devices whose biases differ are not averaged into a small error bar.
    """
    if len(parts) == 1:
        return Combination(parts[0], 0.0, 0)
    means = np.array([part.means for part in parts])
    weights = 1.0 / np.maximum([part.variances for part in parts], 1e-300)
    total = weights.sum(axis=0)
    mean = (weights * means).sum(axis=0) / total
    chi_square = float((weights * (means - mean) ** 2).sum())
    freedom = (len(parts) - 1) * means.shape[1]
    birge = max(1.0, chi_square / freedom)
    return Combination(Estimates(mean, birge / total), chi_square, freedom)
