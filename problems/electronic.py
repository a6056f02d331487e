"""The electronic Hamiltonian of a molecule: its integrals, from which every other form is made on demand."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from problems.jordan_wigner import jordan_wigner
from problems.pauli import PauliSum
from problems.sector import Sector
from problems.sparse_rows import SparseRows


@dataclass(frozen=True, eq=False)
class ElectronicHamiltonian:
    """H = E + sum h_pq E_pq + 1/2 sum (pq|rs) (E_pq E_rs - [q = r] E_ps) over m real spatial orbitals.

    Attributes:
        core_energy: nuclei and doubly occupied core orbitals, in hartree.
        one_body: h_pq, shape (m, m), symmetric, the core's mean field included.
        two_body: chemists' (pq|rs), shape (m, m, m, m), eightfold symmetric.
        restricted: a sector and the matrix over its determinants, where that was made before.
    """

    core_energy: float
    one_body: np.ndarray
    two_body: np.ndarray
    restricted: tuple[Sector, SparseRows] | None = None

    @property
    def n_qubits(self) -> int:
        return 2 * len(self.one_body)

    @property
    def is_diagonal(self) -> bool:
        """One orbital can only be filled; two or more couple."""
        return len(self.one_body) == 1

    @cached_property
    def pauli(self) -> PauliSum:
        """The Jordan-Wigner form: what circuits measure. Engines that know electrons do without it."""
        return jordan_wigner(self.core_energy, self.one_body, self.two_body)
