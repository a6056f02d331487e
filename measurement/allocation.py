"""How the shots of one energy evaluation are shared among its groups."""

from __future__ import annotations

import math

import numpy as np

SHOTS_PER_GROUP_MIN = 2
"""A variance needs two samples."""
_ROUNDS = 20


def regularized_sigmas(
    sigmas: np.ndarray, weights: np.ndarray, *, shots: int | None = None, std_error: float | None = None
) -> np.ndarray:
    """The groups' standard deviations with the pseudo-shot of `measurement.estimator`, shape (groups,).

    An estimate's error is (V s + weight^2) / s^2, so a group of hardly any variance must get enough shots
    to be believed: sigma^2 = V + weight^2 / s, with s by Neyman's allocation of the same sigmas.

    Args:
        sigmas, weights: the groups' deviations as known, and in the mixed state.
        shots, std_error: what the evaluation is planned by; one of them.
    """
    found = sigmas
    for _ in range(_ROUNDS):
        total = float(found.sum())
        planned = shots if shots is not None else total**2 / (std_error or 1.0) ** 2
        share = np.maximum(planned * found / max(total, 1e-300), SHOTS_PER_GROUP_MIN)
        found = np.sqrt(sigmas**2 + weights**2 / share)
    return found


def shots_for(std_error: float, sigmas: np.ndarray) -> int:
    """The fewest shots for a standard error: (sum_g sigma_g)^2 / std_error^2, shared as by `allocate`."""
    least = SHOTS_PER_GROUP_MIN * len(sigmas)
    return max(least, math.ceil(float(sigmas.sum()) ** 2 / std_error**2))


def allocate_all(shots: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """`allocate` of every evaluation: (points,) shots, weights of all or each -> (points, groups)."""
    each = np.column_stack([shots, np.broadcast_to(weights, (len(shots), weights.shape[-1]))])
    distinct, inverse = np.unique(each, axis=0, return_inverse=True)
    return np.array([allocate(int(row[0]), row[1:]) for row in distinct])[inverse.ravel()]


def allocate(shots: int, weights: np.ndarray) -> np.ndarray:
    """Integer shots proportional to `weights`, summing to `shots`, no group below SHOTS_PER_GROUP_MIN.

    With single-shot standard deviations as weights this is Neyman's allocation, which minimises
    sum_g V_g / s_g at fixed sum_g s_g. Remainders go to the largest fractions first.

    Raises:
        ValueError: fewer shots than SHOTS_PER_GROUP_MIN a group.
    """
    groups = len(weights)
    free = shots - SHOTS_PER_GROUP_MIN * groups
    if free < 0:
        raise ValueError(
            f"{shots} shots for {groups} groups; at least {SHOTS_PER_GROUP_MIN * groups} are needed"
        )
    total = float(weights.sum())
    ideal = shots * weights / total if total > 0 else np.full(groups, shots / groups)
    above = np.maximum(ideal - SHOTS_PER_GROUP_MIN, 0.0)
    share = free * above / above.sum() if above.sum() > 0 else np.full(groups, free / groups)
    whole = np.floor(share).astype(np.int64)
    left = free - int(whole.sum())
    whole[np.argsort(-(share - whole), kind="stable")[:left]] += 1
    return whole + SHOTS_PER_GROUP_MIN
