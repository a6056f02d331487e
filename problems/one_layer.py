"""QAOA with one layer in closed form: angles and correlations of any Ising model, whatever its size.

For |gamma, beta> = exp(-i beta sum X) exp(-i gamma H) |+...+>, H = sum h_i Z_i + sum J_ij Z_i Z_j
(Ozaeta, van Dam, McMahon, arXiv:2012.03421, theorem 1, in our signs):

    <Z_i>     = sin 2b sin(2g h_i) prod_k cos(2g J_ik)
    <Z_i Z_j> = sin 4b / 2 sin(2g J_ij) [cos(2g h_i) prod_k cos(2g J_ik) + cos(2g h_j) prod_k cos(2g J_jk)]
              - sin^2 2b / 2 [cos(2g (h_i + h_j)) prod_k cos(2g (J_ik + J_jk))
                              - cos(2g (h_i - h_j)) prod_k cos(2g (J_ik - J_jk))]

with k other than i and j.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from problems.ising_model import IsingModel

_GAMMAS = 64
_BETAS = 64


@dataclass(frozen=True, eq=False)
class OneLayer:
    """One layer of QAOA on a model, over the pairs of spins that it couples."""

    model: IsingModel

    @cached_property
    def pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """(i, j) of the correlations, shape (pairs,) each."""
        return self.model.pairs()

    @cached_property
    def _around_spins(self) -> np.ndarray:
        """Couplings of each spin, padded with zeros: (n, largest degree)."""
        degrees = np.count_nonzero(self.model.couplings, axis=1)
        order = np.argsort(self.model.couplings == 0, axis=1, kind="stable")[:, : max(1, degrees.max())]
        return np.take_along_axis(self.model.couplings, order, axis=1)

    @cached_property
    def _around_pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """J_ik and J_jk over the spins k that i or j touches, padded with zeros: (pairs, most of them)."""
        i, j = self.pairs
        of_i, of_j = self.model.couplings[i].copy(), self.model.couplings[j].copy()
        rows = np.arange(len(i))
        of_i[rows, j] = of_j[rows, i] = 0.0
        touched = (of_i != 0) | (of_j != 0)
        most = max(1, int(touched.sum(axis=1).max(initial=0)))
        order = np.argsort(~touched, axis=1, kind="stable")[:, :most]
        return np.take_along_axis(of_i, order, axis=1), np.take_along_axis(of_j, order, axis=1)

    def factors(self, gammas: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(a, b, c): <Z_i Z_j> = a sin 4 beta + b sin^2 2 beta over the pairs, <Z_i> = c sin 2 beta.

        Args:
            gammas: any shape; a and b get an axis of pairs, c one of spins behind it.
        """
        i, j = self.pairs
        h, (of_i, of_j) = self.model.fields, self._around_pairs
        g = 2.0 * np.asarray(gammas)[..., None]

        def beside(field: np.ndarray, couplings: np.ndarray) -> np.ndarray:
            return np.cos(g * field) * np.cos(g[..., None] * couplings).prod(axis=-1)

        lone = beside(h[i], of_i) + beside(h[j], of_j)
        equal, opposite = beside(h[i] + h[j], of_i + of_j), beside(h[i] - h[j], of_i - of_j)
        single = np.sin(g * h) * np.cos(g[..., None] * self._around_spins).prod(axis=-1)
        return np.sin(g * self.model.couplings[i, j]) * lone / 2, (opposite - equal) / 2, single

    def correlations(self, gamma: float, beta: float) -> tuple[np.ndarray, np.ndarray]:
        """(<Z_i Z_j> of the pairs, <Z_i> of all spins)."""
        a, b, c = self.factors(np.array(gamma))
        return a * np.sin(4 * beta) + b * np.sin(2 * beta) ** 2, c * np.sin(2 * beta)

    def energy(self, gamma: float, beta: float) -> float:
        """<H>, the model's constant included."""
        zz, z = self.correlations(gamma, beta)
        return float(self.model.constant + self.model.couplings[self.pairs] @ zz + self.model.fields @ z)

    def best_angles(self) -> tuple[float, float]:
        """The (gamma, beta) of least energy: the best of a grid, polished by L-BFGS.

        gamma runs up to a quarter turn of the typical term; (-gamma, -beta) has the same energy.
        """
        from scipy.optimize import minimize

        terms = np.abs(np.concatenate([self.model.couplings[self.pairs], self.model.fields]))
        terms = terms[terms > 0]
        if not len(terms):
            return 0.0, 0.0
        unit = np.pi / (2 * float(np.median(terms)))
        gammas = unit * (np.arange(_GAMMAS) + 0.5) / _GAMMAS
        betas = np.pi * ((np.arange(_BETAS) + 0.5) / _BETAS - 0.5)
        waves = np.stack([np.sin(4 * betas), np.sin(2 * betas) ** 2, np.sin(2 * betas)])
        a, b, c = self.factors(gammas)
        weights = self.model.couplings[self.pairs]
        table = np.stack([a @ weights, b @ weights, c @ self.model.fields], axis=1) @ waves
        at, angle = np.unravel_index(int(np.argmin(table)), table.shape)
        start = np.array([gammas[at] / unit, betas[angle]])
        found = minimize(lambda x: self.energy(x[0] * unit, x[1]), start, method="L-BFGS-B")
        better = found.x if found.fun <= self.energy(gammas[at], betas[angle]) else start
        return float(better[0] * unit), float(better[1])
