"""The electrons of a molecule and the determinants that can hold them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations

import numpy as np

ALPHA, BETA = 0x5555_5555_5555_5555, 0x2AAA_AAAA_AAAA_AAAA
"""Masks of the qubits of each spin: even ones alpha, odd ones beta."""


@dataclass(frozen=True)
class Sector:
    """Electrons of a molecule in its active space. Orbital p holds qubits 2p (alpha) and 2p + 1 (beta)."""

    orbitals: int
    electrons_alpha: int
    electrons_beta: int

    @property
    def dimension(self) -> int:
        """How many determinants hold these electrons."""
        return math.comb(self.orbitals, self.electrons_alpha) * math.comb(self.orbitals, self.electrons_beta)

    @property
    def couplings(self) -> int:
        """How many determinants a Hamiltonian of one- and two-electron terms couples to each, at most."""
        alpha, beta = self.electrons_alpha, self.electrons_beta
        singles = [n * (self.orbitals - n) for n in (alpha, beta)]
        doubles = [math.comb(n, 2) * math.comb(self.orbitals - n, 2) for n in (alpha, beta)]
        return 1 + sum(singles) + sum(doubles) + math.prod(singles)

    @property
    def hartree_fock_state(self) -> int:
        """Basis state with the lowest orbitals filled."""
        alpha = sum(1 << 2 * p for p in range(self.electrons_alpha))
        beta = sum(1 << 2 * p + 1 for p in range(self.electrons_beta))
        return alpha | beta


def strings(orbitals: int, electrons: int) -> np.ndarray:
    """Occupations of the orbitals by electrons of one spin, bit p for orbital p; ascending, int64."""
    filled = combinations(range(orbitals), electrons)
    return np.sort(np.array([sum(1 << p for p in places) for places in filled], dtype=np.int64))


def determinants(sector: Sector) -> np.ndarray:
    """Basis states with the sector's electrons, ascending, int64, shape (dimension,)."""
    alpha = spread(strings(sector.orbitals, sector.electrons_alpha))
    beta = spread(strings(sector.orbitals, sector.electrons_beta)) << 1
    return np.sort((alpha[:, None] | beta[None, :]).ravel())


def spread(occupations: np.ndarray) -> np.ndarray:
    """Bit p moved to bit 2p: from orbitals to the alpha qubits."""
    qubits = np.zeros_like(occupations)
    for p in range(int(occupations.max(initial=0)).bit_length()):
        qubits |= (occupations >> p & 1) << 2 * p
    return qubits
