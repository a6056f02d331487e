"""Which Pauli terms can be read from the same shots."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from measurement.diagonalization import diagonalize
from measurement.plan import Bases
from problems.pauli import PauliSum, parity

GroupingKind = Literal["qubit_wise", "overlapping", "fully_commuting", "fewest"]


@dataclass(frozen=True, eq=False)
class Group:
    """Terms that one measurement basis reads together.

    Attributes:
        support: int64 masks, shape (terms,): a term's value at an outcome k is (-1)^{|k & support|}.
        coefficients: float64, shape (terms,), signs of the basis change included.
        terms: int64, shape (terms,): which terms of the Hamiltonian without its constant these are. A term
            that several groups read has a part of its coefficient in each.
    """

    support: np.ndarray
    coefficients: np.ndarray
    terms: np.ndarray

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
    kind: GroupingKind = "qubit_wise"

    def __len__(self) -> int:
        return len(self.groups)

    @property
    def weights(self) -> np.ndarray:
        """Of every group, shape (groups,)."""
        return np.array([group.weight for group in self.groups])


def qubit_wise_commuting(hamiltonian: PauliSum) -> Grouping:
    """Group terms that commute qubit by qubit, by sorted insertion (arXiv:1908.06942).

    Terms are taken by falling |coefficient| and put into the first group that they fit. A term fits where
    on every qubit its Pauli is I, the group's is I, or both are the same.
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
        tuple(Group(support[part], terms.coefficients[part], np.array(part)) for part in members),
        Bases(np.array(x_of, dtype=np.int64), np.array(z_of, dtype=np.int64)),
        hamiltonian.constant,
    )


def fully_commuting(hamiltonian: PauliSum) -> Grouping:
    """Group terms that commute as operators, by sorted insertion (arXiv:1908.06942).

    Fewer and larger groups than `qubit_wise_commuting`, at the price of entangling rotations before the
    measurement (`measurement.diagonalization`).
    """
    terms = hamiltonian.without_constant()
    order = np.argsort(-np.abs(terms.coefficients), kind="stable")
    members: list[list[int]] = []
    for term in order:
        for group in members:
            clash = parity(terms.x[group] & terms.z[term]) ^ parity(terms.z[group] & terms.x[term])
            if not clash.any():
                group.append(int(term))
                break
        else:
            members.append([int(term)])
    return _read_together(hamiltonian, members, "fully_commuting")


def fewest(hamiltonian: PauliSum) -> Grouping:
    """Group terms that commute as operators into few groups, whatever their coefficients.

    Takes one large set of commuting terms after another, each grown from the term that clashes with fewest
    of those left: colouring by independent sets (Johnson 1974, doi:10.1016/S0022-0000(74)80044-9).
    """
    terms = hamiltonian.without_constant()
    x, z = terms.x, terms.z
    clash = np.array(
        [parity(x & other_z) ^ parity(z & other_x) for other_x, other_z in zip(x, z, strict=True)]
    )
    clash = clash.astype(bool)
    left, members = np.ones(len(x), dtype=bool), []
    while left.any():
        group, free = [], left.copy()
        clashes = clash[:, free].sum(axis=1)
        while free.any():
            term = int(np.argmin(np.where(free, clashes, len(x))))
            gone = free & clash[term]
            free &= ~gone
            free[term] = False
            clashes -= clash[:, gone].sum(axis=1)
            group.append(term)
        left[group] = False
        members.append(group)
    return _read_together(hamiltonian, members, "fewest")


def _read_together(hamiltonian: PauliSum, members: list[list[int]], kind: GroupingKind) -> Grouping:
    """Groups of commuting terms, each behind the Clifford rotations that make it diagonal."""
    terms = hamiltonian.without_constant()
    found = [diagonalize(terms.x[group], terms.z[group]) for group in members]
    zero = np.zeros(len(members), dtype=np.int64)
    return Grouping(
        tuple(
            Group(each.support, terms.coefficients[group] * each.sign, np.array(group))
            for group, each in zip(members, found, strict=True)
        ),
        Bases(zero, zero, tuple(each.rotations for each in found)),
        hamiltonian.constant,
        kind,
    )


def overlapping(grouping: Grouping, hamiltonian: PauliSum, sigmas: np.ndarray) -> Grouping:
    """Read every term in every basis that shows it (arXiv:2201.01471, with coefficients split by shots).

    A term's coefficient is shared among its bases as Neyman's allocation shares the shots, so that all its
    readings enter its mean equally. Groups stay independent and their means still add up to the energy.

    Args:
        grouping: qubit-wise, without Clifford rotations.
        sigmas: single-shot standard deviations of its groups, shape (groups,).
    """
    if grouping.bases.cliffords:
        raise ValueError("terms overlap in qubit-wise bases only")
    terms = hamiltonian.without_constant()
    support = terms.x | terms.z
    x, z = grouping.bases.x[:, None], grouping.bases.z[:, None]
    pauli_x = x & support
    pauli_z = (support & ~x) | (support & x & z)  # a qubit of the identity is read in Z
    shown = (pauli_x == terms.x) & (pauli_z == terms.z)
    weights = shown * np.maximum(sigmas, 1e-3 * float(sigmas.max()))[:, None]
    shares = weights / weights.sum(axis=0)
    groups = []
    for share in shares:
        part = np.flatnonzero(share)
        groups.append(Group(support[part], terms.coefficients[part] * share[part], part))
    return Grouping(tuple(groups), grouping.bases, grouping.constant, "overlapping")
