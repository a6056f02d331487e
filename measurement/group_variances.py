"""Each group's single-shot variance: a prior, then what the shots themselves say.

Var(E) = sum_g V_g / s_g for s_g shots on group g, so these V_g decide how shots are shared (Neyman) and how
many a target error takes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from measurement.estimator import bessel
from measurement.grouping import Grouping
from measurement.plan import ExecutionPlan, Outcome
from problems.pauli import PauliSum, parity

PRIOR_SHOTS = 40.0
"""How many shots the prior is worth."""
MEMORY = 0.8
"""What earlier shots still count after an iteration: the state moves on."""
MIXED_SHARE = 0.05
"""Of the maximally mixed state in the prior of a problem whose start is a basis state."""


@dataclass(frozen=True, eq=False)
class GroupVariances:
    """Pooled squares of deviations over pooled shots.

    Attributes:
        squares: shape (groups,), in the Hamiltonian's unit squared.
        shots: shape (groups,), effective shots behind them; the prior counts too.
    """

    squares: np.ndarray
    shots: np.ndarray

    @classmethod
    def prior(cls, variances: np.ndarray) -> GroupVariances:
        """A guess that `PRIOR_SHOTS` shots would outweigh."""
        return cls(variances * PRIOR_SHOTS, np.full(len(variances), PRIOR_SHOTS))

    @property
    def values(self) -> np.ndarray:
        """Single-shot variances V_g, shape (groups,)."""
        return self.squares / self.shots

    @property
    def sigmas(self) -> np.ndarray:
        """Single-shot standard deviations, shape (groups,); never all zero."""
        sigmas = np.sqrt(self.values)
        return sigmas if sigmas.any() else np.ones(len(sigmas))

    def updated(
        self,
        parts: Sequence[tuple[ExecutionPlan, Outcome]],
        grouping: Grouping,
        *,
        points: np.ndarray | None = None,
    ) -> GroupVariances:
        """With what one batch gave, at all points or at some; what was known before fades by `MEMORY`.

        Args:
            parts: of the batch, one for each device that ran some of it.
        """
        squares, shots = MEMORY * self.squares, MEMORY * self.shots
        for plan, outcome in parts:
            rows = np.arange(len(plan)) if points is None else np.flatnonzero(np.isin(plan.point, points))
            for row in rows.tolist():
                states, counts = outcome.row(row)
                basis, n = int(plan.basis[row]), int(counts.sum())
                if n < 2:
                    continue
                values = grouping.groups[basis].values(states)
                mean = float(values @ counts) / n
                squares[basis] += float((values - mean) ** 2 @ counts) * float(bessel(n))
                shots[basis] += n
        return GroupVariances(squares, shots)


def prior_variances(grouping: Grouping, hamiltonian: PauliSum, basis_state: int | None) -> np.ndarray:
    """Single-shot variances before any shot, shape (groups,).

    In a computational basis state k a group A = sum_t c_t P_t has the variance |A k|^2 - <A>^2, the weight of
    A k on other basis states, which the terms give at once. A share of the variance in the maximally
    mixed state, sum_t c_t^2, is added for where the run will go.

    Args:
        basis_state: what the circuit starts from, such as the Hartree-Fock state; None where it is no
            basis state: then the mixed state alone counts.
    """
    mixed = grouping.weights**2
    if basis_state is None:
        return mixed
    images = _images(grouping, hamiltonian, np.array([basis_state]))
    return np.array([image.elsewhere[0] for image in images]) + MIXED_SHARE * mixed


def halfway_variances(
    grouping: Grouping, hamiltonian: PauliSum, basis_state: int, excitations: np.ndarray
) -> np.ndarray:
    """The same halfway between a basis state k and others l, in (k +- l) / sqrt(2), shape (groups,).

    That is where an excitation's shift of pi/2 leads. With A's elements in k and l it is
    (|A k|^2 + |A l|^2) / 2 - (A_kk + A_ll)^2 / 4 - (Re A_kl)^2 in the mean over both signs.

    Args:
        excitations: the masks k XOR l, at least one; the mean over all of them is taken.
    """
    found = []
    for image in _images(grouping, hamiltonian, np.concatenate([[basis_state], basis_state ^ excitations])):
        mean = (image.diagonal[0] + image.diagonal[1:]) / 2
        squares = image.elsewhere + image.diagonal**2
        square = (squares[0] + squares[1:]) / 2
        found.append(float(np.mean(square - mean**2 - image.between(excitations) ** 2)))
    return np.array(found) + MIXED_SHARE * grouping.weights**2


@dataclass(frozen=True, eq=False)
class _Image:
    """What a group A makes of some basis states k: A k = sum_x amplitudes[k, x] |k XOR flips[x]>."""

    flips: np.ndarray
    amplitudes: np.ndarray

    @property
    def diagonal(self) -> np.ndarray:
        """A_kk, shape (states,)."""
        return self.amplitudes[:, self.flips == 0].sum(axis=1).real

    @property
    def elsewhere(self) -> np.ndarray:
        """The weight of A k on other basis states, shape (states,)."""
        return (np.abs(self.amplitudes[:, self.flips != 0]) ** 2).sum(axis=1)

    def between(self, masks: np.ndarray) -> np.ndarray:
        """Real elements between the first state and those at these masks from it, shape (masks,)."""
        same = self.flips == masks[:, None]
        return (self.amplitudes[0] * same).sum(axis=1).real


def _images(grouping: Grouping, hamiltonian: PauliSum, states: np.ndarray) -> Iterator[_Image]:
    """Of every group."""
    terms = hamiltonian.without_constant()
    phases = 1j ** np.bitwise_count(terms.x & terms.z).astype(np.int64)
    for group in grouping.groups:
        at = group.terms
        parts = np.abs(group.coefficients) * np.sign(terms.coefficients[at]) * phases[at]
        flips, inverse = np.unique(terms.x[at], return_inverse=True)
        signs = 1 - 2 * parity(states[:, None] & terms.z[at])
        yield _Image(flips, (parts * signs) @ (inverse[:, None] == np.arange(len(flips))))
