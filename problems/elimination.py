"""Recursive QAOA: fix the strongest correlation of one layer, shrink the model, repeat (arXiv:1910.08980).

Each step sets s_j = sign s_i where |<Z_i Z_j>| is largest (or s_j = sign where |<Z_j>| is), which leaves a
model of one spin less. At `cutoff` spins the rest is solved by enumeration and the steps are undone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from problems.ising_model import IsingModel
from problems.one_layer import OneLayer
from problems.relaxation import goemans_williamson

ALONE = -1
"""The `keep` of a spin that was fixed by itself."""

_TIED = 1e-9
_TRIED_MAX = 20
"""Of so many spins all values are tried: a megabyte a spin."""


class Step(NamedTuple):
    """s[drop] = sign * s[keep], or sign alone where `keep` is ALONE. Spins are numbered as in the problem."""

    keep: int
    drop: int
    sign: int


@dataclass(frozen=True, eq=False)
class Elimination:
    """How far a recursion is.

    Attributes:
        model: what is left.
        spins: int64, the problem's number of each spin of `model`.
        steps: what was fixed, in order.
    """

    model: IsingModel
    spins: np.ndarray
    steps: tuple[Step, ...] = ()

    @classmethod
    def of(cls, model: IsingModel) -> Elimination:
        return cls(model, np.arange(model.n))

    def choose(self, gamma: float, beta: float, rng: np.random.Generator) -> Step:
        """The step that the correlations at (gamma, beta) ask for; `rng` decides between equal ones."""
        layer = OneLayer(self.model)
        zz, z = layer.correlations(gamma, beta)
        values = np.concatenate([zz, z])
        strength = np.abs(values)
        tied = np.flatnonzero(strength >= strength.max() - _TIED)
        at = int(rng.choice(tied))
        sign = 1 if values[at] >= 0 else -1
        if at >= len(zz):
            return Step(ALONE, int(self.spins[at - len(zz)]), sign)
        i, j = layer.pairs
        return Step(int(self.spins[i[at]]), int(self.spins[j[at]]), sign)

    def take(self, step: Step) -> Elimination:
        """The model after one step more."""
        drop = int(np.flatnonzero(self.spins == step.drop)[0])
        couplings, fields = self.model.couplings.copy(), self.model.fields.copy()
        pulled = step.sign * couplings[drop]
        if step.keep == ALONE:
            constant = self.model.constant + step.sign * fields[drop]
            fields += pulled
        else:
            keep = int(np.flatnonzero(self.spins == step.keep)[0])
            constant = self.model.constant + pulled[keep]
            fields[keep] += step.sign * fields[drop]
            couplings[keep] += pulled
            couplings[:, keep] += pulled
            couplings[keep, keep] = 0.0
        rest = np.delete(np.arange(len(fields)), drop)
        model = IsingModel(_cancelled(couplings[np.ix_(rest, rest)]), _cancelled(fields[rest]), constant)
        return replace(self, model=model, spins=self.spins[rest], steps=(*self.steps, step))

    def solution(self) -> np.ndarray:
        """The best spins of what is left, all steps undone: int64 +-1, shape (spins of the problem,).

        Where too many are left to try them all, the best that Goemans-Williamson with single flips finds.
        """
        n = len(self.spins)
        best = _best_of_all(self.model) if n <= _TRIED_MAX else goemans_williamson(self.model).spins
        spins = np.zeros(n + len(self.steps), dtype=np.int64)
        spins[self.spins] = best
        for keep, drop, sign in reversed(self.steps):
            spins[drop] = sign if keep == ALONE else sign * spins[keep]
        return spins


def _best_of_all(model: IsingModel) -> np.ndarray:
    n = len(model.fields)
    rows = 1 - 2 * (np.arange(1 << n, dtype=np.int64)[:, None] >> np.arange(n) & 1)
    return rows[int(np.argmin(model.energies(rows.astype(np.float64))))]


def _cancelled(values: np.ndarray) -> np.ndarray:
    """The values, those that are rounding errors of cancelled ones set to zero."""
    return np.where(np.abs(values) < 1e-12 * max(1.0, np.abs(values).max(initial=0.0)), 0.0, values)
