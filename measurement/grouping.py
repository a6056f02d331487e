"""Which Pauli terms can be read from the same shots."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from measurement.plan import Bases
from problems.pauli import PauliSum, parity


@dataclass(frozen=True, eq=False)
class Group:
    """Terms that one measurement basis reads together.

    Attributes:
        support: int64 masks, shape (terms,): a term's value at an outcome k is (-1)^{|k & support|}.
        coefficients: float64, shape (terms,).
    """

    support: np.ndarray
    coefficients: np.ndarray

    @property
    def weight(self) -> float:
        """Root of sum c^2: the single-shot standard deviation in the maximally mixed state."""
        return float(np.sqrt(np.sum(self.coefficients**2)))

    def values(self, states: np.ndarray) -> np.ndarray:
        """Energy read from each outcome, float64, shape of `states`."""
        signs = 1 - 2 * parity(states[:, None] & self.support[None, :])
        return signs @ self.coefficients


@dataclass(frozen=True, eq=False)
class Grouping:
    """A Hamiltonian cut into groups, each with its basis; the constant needs no shots."""

    groups: tuple[Group, ...]
    bases: Bases
    constant: float

    def __len__(self) -> int:
        return len(self.groups)


def qubit_wise_commuting(hamiltonian: PauliSum) -> Grouping:
    """Group terms that agree letter by letter, by sorted insertion (arXiv:1908.06942).

    Terms are taken by falling |coefficient| and put into the first group that they fit. A term fits where
    on every qubit its letter is I, the group's is I, or both are the same.
    """
    terms = hamiltonian.without_constant()
    order = np.argsort(-np.abs(terms.coefficients), kind="stable")
    x_of: list[int] = []
    z_of: list[int] = []
    members: list[list[int]] = []
    for term in order:
        x, z = int(terms.x[term]), int(terms.z[term])
        for at in range(len(members)):
            both = (x | z) & (x_of[at] | z_of[at])
            if not ((x ^ x_of[at]) & both or (z ^ z_of[at]) & both):
                x_of[at], z_of[at] = x_of[at] | x, z_of[at] | z
                members[at].append(int(term))
                break
        else:
            x_of.append(x)
            z_of.append(z)
            members.append([int(term)])
    support = terms.x | terms.z
    return Grouping(
        tuple(Group(support[part], terms.coefficients[part]) for part in members),
        Bases(np.array(x_of, dtype=np.int64), np.array(z_of, dtype=np.int64)),
        hamiltonian.constant,
    )
