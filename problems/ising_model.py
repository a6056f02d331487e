"""Quadratic functions of spins as dense matrices: what classical solvers and closed forms work on.

Unlike a `PauliSum`, whose masks hold 62 qubits, a model holds as many spins as its matrix allows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from problems.pauli import PauliSum

SPINS_MAX = 2000
"""A matrix of 32 MB."""


@dataclass(frozen=True, eq=False)
class IsingModel:
    """E(s) = constant + sum_i fields_i s_i + sum_{i<j} couplings_ij s_i s_j over s in {-1, +1}^n.

    Spin i is qubit i, s_i its Z: +1 where the qubit's bit is 0.

    Attributes:
        couplings: float64, shape (n, n), symmetric with a zero diagonal.
        fields: float64, shape (n,).
        constant: in the problem's unit, as all of them.
    """

    couplings: np.ndarray
    fields: np.ndarray
    constant: float

    @classmethod
    def from_terms(cls, n: int, terms: Mapping[int, float]) -> IsingModel:
        """From {Z mask: coefficient}; masks are integers of any size.

        Raises:
            ValueError: a mask of more than two qubits.
        """
        couplings, fields, constant = np.zeros((n, n)), np.zeros(n), 0.0
        for mask, value in terms.items():
            qubits = _bits(mask)
            if len(qubits) > 2:
                raise ValueError("a term of more than two spins is not quadratic")
            if len(qubits) == 2:
                couplings[qubits[0], qubits[1]] = couplings[qubits[1], qubits[0]] = value
            elif qubits:
                fields[qubits[0]] = value
            else:
                constant = value
        return cls(couplings, fields, constant)

    @classmethod
    def of(cls, hamiltonian: PauliSum) -> IsingModel:
        """From a sum of I and Z with at most two Z a term; ValueError for any other."""
        if not hamiltonian.is_diagonal:
            raise ValueError("a model of spins needs a sum of I and Z only")
        terms = zip(hamiltonian.z.tolist(), hamiltonian.coefficients.tolist(), strict=True)
        return cls.from_terms(hamiltonian.n_qubits, dict(terms))

    @property
    def n(self) -> int:
        return len(self.fields)

    def energies(self, spins: np.ndarray) -> np.ndarray:
        """E of every row of spins, (rows, n) of +-1 -> (rows,)."""
        quadratic = 0.5 * np.einsum("ri,ri->r", spins @ self.couplings, spins)
        return self.constant + spins @ self.fields + quadratic

    def pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """(i, j), i < j, of all couplings that are not zero."""
        i, j = np.nonzero(np.triu(self.couplings))
        return i, j


def bitstring(spins: np.ndarray) -> str:
    """Spins as bits, one character a qubit in qubit order: +1 is 0."""
    return "".join("0" if spin > 0 else "1" for spin in spins)


def _bits(mask: int) -> list[int]:
    bits = []
    while mask:
        low = mask & -mask
        bits.append(low.bit_length() - 1)
        mask ^= low
    return bits
