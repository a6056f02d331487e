"""From counts to an energy with an error bar that does not lie."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from measurement.grouping import Group, Grouping
from measurement.plan import ExecutionPlan, Outcome


@dataclass(frozen=True, eq=False)
class Estimates:
    """Energies of the points of a plan.

    Attributes:
        means: shape (points,), in the Hamiltonian's unit.
        variances: shape (points,): squared standard errors of the means.
    """

    means: np.ndarray
    variances: np.ndarray


def estimate(plan: ExecutionPlan, grouping: Grouping, outcome: Outcome) -> Estimates:
    """Unbiased energies and their squared standard errors; groups are independent, so both add up.

    The plan's bases must be the grouping's. Raises ValueError where a point lacks a group's shots.
    """
    points = len(plan.angles)
    means = np.full(points, grouping.constant)
    variances = np.zeros(points)
    seen = np.zeros((points, len(grouping)), dtype=bool)
    for row in range(len(plan)):
        point, basis = int(plan.point[row]), int(plan.basis[row])
        mean, variance = group_mean(grouping.groups[basis], *outcome.row(row))
        means[point] += mean
        variances[point] += variance
        seen[point, basis] = True
    if not seen.all():
        raise ValueError("a point has groups without shots: its energy would lack their terms")
    return Estimates(means, variances)


def group_mean(group: Group, states: np.ndarray, counts: np.ndarray) -> tuple[float, float]:
    """Mean of a group's energy over its shots, and the squared standard error of that mean.

    The single-shot variance is estimated with one pseudo-shot that deviates by the group's weight (its
    standard deviation in the maximally mixed state): V = sum (v - mean)^2 / (shots - 1) + weight^2 / shots.
    A group whose shots all agree has thus an error of the order weight / shots, as the rule of succession
    asks, and not the zero that would make an unlucky short sample look certain.
    """
    shots = int(counts.sum())
    if not shots:
        raise ValueError("a group without shots: the energy would lack its terms")
    values = group.values(states)
    mean = float(values @ counts) / shots
    squares = float(((values - mean) ** 2) @ counts)
    return mean, float(squares * bessel(shots) + group.weight**2) / shots**2


def bessel(shots: np.ndarray | int) -> np.ndarray:
    """n / (n - 1): what squares about a sample's own mean are short of; 1 where one shot says nothing."""
    return np.asarray(shots / np.maximum(np.asarray(shots) - 1, 1))
