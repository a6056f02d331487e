"""Goemans-Williamson: a semidefinite relaxation, rounded by random hyperplanes, improved by local search.

Spins become unit vectors v_i, and sum J_ij v_i . v_j is minimised over vectors of dimension
ceil(sqrt(2 n)) + 1, where local minima are global ones (Burer and Monteiro, Math. Program. 95, 329 (2003);
Boumal, Voroninski, Bandeira, arXiv:1606.04970), one vector at a time (the mixing method, arXiv:1706.00476).
The sign of a random projection of the vectors cuts graphs of weights >= 0 to at least 0.87856 of the best
cut in expectation (Goemans and Williamson, J. ACM 42, 1115 (1995)). Fields couple to one more vector.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from problems.ising_model import IsingModel
from problems.problem import Reference

METHOD = "Goemans-Williamson"
HYPERPLANES = 128
_SWEEPS_MAX = 2000
_CHANGE_MIN = 1e-7
_TOLERANCE_RELATIVE = 1e-10


@dataclass(frozen=True, eq=False)
class Relaxation:
    """What the relaxation found.

    Attributes:
        energy: of the best spins.
        spins: int64 +-1, shape (n,).
        bound: no spins have an energy below this (from a dual solution, so true however far the
            relaxation was solved).
    """

    energy: float
    spins: np.ndarray
    bound: float

    def reference(self) -> Reference:
        """As a value to compare a result with."""
        return Reference(self.energy, METHOD, exact=False)


def goemans_williamson(model: IsingModel, *, hyperplanes: int = HYPERPLANES, seed: int = 0) -> Relaxation:
    """Relax, round `hyperplanes` times and descend from each by single flips.

    Seeded by a constant: a baseline belongs to the problem, not to a run.
    """
    rng = np.random.default_rng(seed)
    couplings = _with_fields_as_couplings(model)
    vectors = _relax(couplings, rng)
    sides = np.sign(vectors @ rng.standard_normal((vectors.shape[1], hyperplanes))).T
    sides[sides == 0] = 1.0
    rounded = sides[:, :-1] * sides[:, -1:] if model.fields.any() else sides
    spins = descend(model, rounded)
    energies = model.energies(spins)
    best = int(np.argmin(energies))
    return Relaxation(
        float(energies[best]),
        spins[best].astype(np.int64),
        model.constant + _dual_bound(couplings, vectors),
    )


def descend(model: IsingModel, spins: np.ndarray) -> np.ndarray:
    """Steepest single flips of every row until none lowers its energy, (rows, n) -> (rows, n)."""
    spins = spins.astype(np.float64)
    tolerance = _TOLERANCE_RELATIVE * (np.abs(model.couplings).sum() + np.abs(model.fields).sum())
    moving = np.arange(len(spins))
    while len(moving):
        gain = 2 * spins[moving] * (spins[moving] @ model.couplings + model.fields)
        best = gain.argmax(axis=1)
        improves = gain[np.arange(len(moving)), best] > tolerance
        moving, best = moving[improves], best[improves]
        spins[moving, best] *= -1
    return spins


def _with_fields_as_couplings(model: IsingModel) -> np.ndarray:
    """The couplings, with one spin more that every field couples to."""
    if not model.fields.any():
        return model.couplings
    extended = np.zeros((model.n + 1, model.n + 1))
    extended[:-1, :-1] = model.couplings
    extended[:-1, -1] = extended[-1, :-1] = model.fields
    return extended


def _relax(couplings: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Unit vectors, shape (n, k), at a minimum of sum J_ij v_i . v_j: v_i <- -sum_j J_ij v_j, normalised."""
    n = len(couplings)
    vectors = rng.standard_normal((n, int(np.ceil(np.sqrt(2 * n))) + 1))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    neighbours = [np.flatnonzero(row) for row in couplings]
    weights = [-couplings[i, near] for i, near in enumerate(neighbours)]
    connected = [i for i in range(n) if len(neighbours[i])]
    for _ in range(_SWEEPS_MAX):
        change = 0.0
        for i in connected:
            pull = weights[i] @ vectors[neighbours[i]]
            length = np.sqrt(pull @ pull)
            if length == 0.0:
                continue
            moved = pull / length
            change = max(change, float(1.0 - moved @ vectors[i]))
            vectors[i] = moved
        if change < _CHANGE_MIN:
            break
    return vectors


def _dual_bound(couplings: np.ndarray, vectors: np.ndarray) -> float:
    """A lower bound on sum_{i<j} J_ij s_i s_j: with any y, 1/2 s^T (J + diag y) s >= n/2 lambda_min."""
    dual = np.linalg.norm(couplings @ vectors, axis=1)
    lowest = float(np.linalg.eigvalsh(couplings + np.diag(dual))[0])
    return 0.5 * (len(dual) * min(lowest, 0.0) - float(dual.sum()))
