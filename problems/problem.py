"""What a run minimises, ready for any ansatz, engine or device."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from problems.electronic import ElectronicHamiltonian
from problems.pauli import PauliSum
from problems.sector import Sector

Observable = PauliSum | ElectronicHamiltonian
"""What engines evaluate; `observable.pauli` is what circuits measure."""


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
            "local search" or "Goemans-Williamson"; with its spin where that is not the one asked for.
        exact: whether it is the true minimum, or only the best value a heuristic found.
        ground: the exact ground space where it was affordable.
    """

    energy: float
    method: str
    exact: bool
    ground: GroundSpace | None = None


@dataclass(frozen=True, eq=False)
class Problem:
    """A Hamiltonian to minimise and what is known about it.

    Attributes:
        kind: the spec's problem kind.
        observable: the Hamiltonian, its constant included.
        unit: "Ha" for molecules, "" otherwise.
        reference: None where none was affordable.
        sector: the electrons, for molecules only.
        hartree_fock_energy: for molecules only, in hartree.
        baseline: what a classical heuristic with a guarantee finds, for cuts.
    """

    kind: str
    observable: Observable
    unit: str = ""
    reference: Reference | None = None
    sector: Sector | None = None
    hartree_fock_energy: float | None = None
    baseline: Reference | None = None

    @property
    def n_qubits(self) -> int:
        return self.observable.n_qubits

    @property
    def hamiltonian(self) -> PauliSum:
        """The observable as a Pauli sum, which molecules build when it is first asked for."""
        return self.observable.pauli

    @property
    def is_cut(self) -> bool:
        """Whether the energy is minus a cut value."""
        return self.kind == "maxcut"
