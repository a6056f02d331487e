"""Conditional value at risk from counts: the mean of the lowest share alpha of all samples.

With q the alpha-quantile of the energy E, CVaR = max_q { q - <(q - E)_+> / alpha } (Rockafellar and Uryasev,
J. Risk 2, 21 (2000), for the lower tail), reached at the quantile. Two things follow from that one line:

* its standard error is, to first order in 1/shots, that of the mean of g(E) = q - (q - E)_+ / alpha at a
  fixed q: moving a maximum's argument changes nothing (Hong and Liu, Manag. Sci. 55, 281 (2009));
* its gradient is that of the expectation <g(E)> at a fixed q (the envelope theorem), and g(E) is diagonal in
  the measured basis: parameter shifts, which are not linear in CVaR itself, hold for it exactly.

The estimate is too high by O(1/shots) on average, being the mean of a maximum of empirical means.
"""

from __future__ import annotations

import numpy as np

from measurement.estimator import Estimates, bessel
from measurement.plan import ExecutionPlan, Outcome
from problems.pauli import PauliSum


def quantile(energies: np.ndarray, weights: np.ndarray, alpha: float) -> float:
    """The least energy up to which at least the share alpha of the weights lies."""
    order = np.argsort(energies, kind="stable")
    share = np.cumsum(weights[order])
    at = int(np.searchsorted(share, alpha * share[-1] * (1 - 1e-12)))
    return float(energies[order[min(at, len(order) - 1)]])


def clipped(energies: np.ndarray, threshold: float, alpha: float) -> np.ndarray:
    """g(E) = q - (q - E)_+ / alpha, whose mean at the quantile q is the CVaR; shape of `energies`."""
    return threshold - np.maximum(threshold - energies, 0.0) / alpha


def tail_estimates(
    plan: ExecutionPlan,
    hamiltonian: PauliSum,
    outcome: Outcome,
    alpha: float,
    leaders: np.ndarray | None = None,
) -> Estimates:
    """CVaR and its squared standard error at every point of a plan that measures a diagonal Hamiltonian.

    Args:
        leaders: whose quantile each point takes, int, shape (points,); None for its own. At its own, the mean
            of g is the CVaR; parameter shifts take that of the point that they surround, for its gradient.

    The single-shot variance has one pseudo-shot that deviates as in `measurement.estimator.group_mean`, by
    the Hamiltonian's standard deviation in the maximally mixed state, over alpha.
    """
    points = len(plan.angles)
    leaders = np.arange(points) if leaders is None else leaders
    energies = hamiltonian.diagonal_at(outcome.states)
    point_of = np.repeat(plan.point, np.diff(outcome.offsets))
    order = np.argsort(point_of, kind="stable")
    ends = np.searchsorted(point_of[order], np.arange(points + 1))
    samples = [order[ends[point] : ends[point + 1]] for point in range(points)]
    quantiles = {
        int(at): quantile(energies[samples[at]], outcome.counts[samples[at]], alpha)
        for at in np.unique(leaders)
    }
    terms = hamiltonian.without_constant()
    pseudo = float(np.sum(terms.coefficients**2)) / alpha**2
    means, variances = np.empty(points), np.empty(points)
    for point, own in enumerate(samples):
        counts = outcome.counts[own]
        values, shots = clipped(energies[own], quantiles[int(leaders[point])], alpha), int(counts.sum())
        means[point] = values @ counts / shots
        squares = ((values - means[point]) ** 2) @ counts
        variances[point] = (squares * bessel(shots) + pseudo) / shots**2
    return Estimates(means, variances)
