"""What a run minimises, ready for any ansatz, engine or device."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from problems.hartree_fock import ActiveIntegrals
from problems.pauli import PauliSum


@dataclass(frozen=True, eq=False)
class GroundSpace:
    """The exact ground space, on the few basis states that it touches.

    Attributes:
        support: int64 basis states, shape (s,).
        amplitudes: real, orthonormal rows, shape (degeneracy, s); None where every state of the support
            is itself a ground state (diagonal problems).

    The fidelity of a state psi is the weight of its projection on this space, sum_r |<r|psi>|^2.
    """

    support: np.ndarray
    amplitudes: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Reference:
    """A value to compare a result with.

    Attributes:
        energy: in the problem's unit.
        method: how it was found, in field terms: "FCI", "exact diagonalization", "brute force",
            "local search" or "Goemans-Williamson".
        exact: whether it is the true minimum, or only the best value a heuristic found.
        ground: the exact ground space where it was affordable.
    """

    energy: float
    method: str
    exact: bool
    ground: GroundSpace | None = None


@dataclass(frozen=True, eq=False)
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
    def hartree_fock_state(self) -> int:
        """Basis state with the lowest orbitals filled."""
        alpha = sum(1 << 2 * p for p in range(self.electrons_alpha))
        beta = sum(1 << 2 * p + 1 for p in range(self.electrons_beta))
        return alpha | beta


@dataclass(frozen=True, eq=False)
class Problem:
    """A Hamiltonian to minimise and what is known about it.

    Attributes:
        kind: the spec's problem kind.
        hamiltonian: the observable, its constant included.
        unit: "Ha" for molecules, "" otherwise.
        reference: None where none was affordable.
        sector: the electrons, for molecules only.
        hartree_fock_energy: for molecules only, in hartree.
        integrals: of the active space, for molecules only.
        baseline: what a classical heuristic with a guarantee finds, for cuts.
    """

    kind: str
    hamiltonian: PauliSum
    unit: str = ""
    reference: Reference | None = None
    sector: Sector | None = None
    hartree_fock_energy: float | None = None
    integrals: ActiveIntegrals | None = None
    baseline: Reference | None = None

    @property
    def n_qubits(self) -> int:
        return self.hamiltonian.n_qubits

    @property
    def is_cut(self) -> bool:
        """Whether the energy is minus a cut value."""
        return self.kind == "maxcut"
