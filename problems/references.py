"""Exact ground states: the values that a result is compared with."""

from __future__ import annotations

from typing import Any

import numpy as np

from problems.diagonal_search import minimum
from problems.electronic import ElectronicHamiltonian
from problems.lowest_level import lowest_level
from problems.pauli import PauliSum, parity
from problems.problem import GroundSpace, Reference
from problems.sector import Sector, determinants
from problems.sector_matrix import sector_matrix

DIMENSION_MAX = 40_000
"""15 qubits, or 10 orbitals with 7 + 7 electrons."""

NONZEROS_MAX = 12_000_000
"""Half a gigabyte while the matrix is put together."""

COUPLINGS_MAX = 40_000_000
"""Pairs of determinants that two electrons can connect; point groups leave a fraction of them."""

WORK_MAX = 1_000_000_000
"""Terms times basis states: about ten seconds."""

_AMPLITUDE_MIN = 1e-10


def ground_state(hamiltonian: PauliSum, sector: Sector | None = None) -> Reference | None:
    """The lowest level of a Hamiltonian, exact where that is affordable.

    Args:
        hamiltonian: its constant included.
        sector: restrict to determinants with these electrons ("FCI"). Other particle numbers may lie lower
            (HeH+), so a molecule is never compared with the whole qubit space.

    Returns:
        None beyond `DIMENSION_MAX` basis states, `NONZEROS_MAX` matrix elements or `WORK_MAX`, or where
        Lanczos does not converge. A diagonal Hamiltonian without a sector always has a reference, by brute
        force or local search. The ground space is left out where its vectors are complex, or too many.
    """
    if sector is None and hamiltonian.is_diagonal:
        return minimum(hamiltonian)
    dimension = sector.dimension if sector else 1 << hamiltonian.n_qubits
    if dimension > DIMENSION_MAX or dimension * len(hamiltonian) > WORK_MAX:
        return None
    states = determinants(sector) if sector else np.arange(dimension, dtype=np.int64)
    matrix = restricted_matrix(hamiltonian, states)
    if matrix is None:
        return None
    return _lowest(matrix, states, "FCI" if sector else "exact diagonalization")


def full_configuration_interaction(hamiltonian: ElectronicHamiltonian, sector: Sector) -> Reference | None:
    """The lowest level of a molecule's sector; None beyond `DIMENSION_MAX` or `COUPLINGS_MAX`."""
    if sector.dimension > DIMENSION_MAX or sector.dimension * sector.couplings > COUPLINGS_MAX:
        return None
    return _lowest(sector_matrix(hamiltonian, sector).scipy(), determinants(sector), "FCI")


def _lowest(matrix: Any, states: np.ndarray, method: str) -> Reference | None:
    lowest = lowest_level(matrix)
    if lowest is None:
        return None
    energy, vectors = lowest
    return Reference(energy, method, exact=True, ground=_ground_space(states, vectors))


def restricted_matrix(hamiltonian: PauliSum, states: np.ndarray) -> Any | None:
    """<j|H|k> over the given basis states, as a scipy CSR array; None beyond `NONZEROS_MAX`.

    Args:
        states: int64, ascending, shape (dimension,).

    Returns:
        float64, or complex128 where a term has an odd number of Y.
    """
    from scipy.sparse import coo_array

    real = not np.any(np.bitwise_count(hamiltonian.x & hamiltonian.z) & 1)
    rows, columns, values, nonzeros = [], [], [], 0
    order = np.argsort(hamiltonian.x, kind="stable")
    shifts, starts = np.unique(hamiltonian.x[order], return_index=True)
    for x, terms in zip(shifts, np.split(order, starts[1:]), strict=True):
        flipped = states ^ x
        row = np.minimum(np.searchsorted(states, flipped), len(states) - 1)
        column = np.flatnonzero(states[row] == flipped)
        nonzeros += len(column)
        if nonzeros > NONZEROS_MAX:
            return None
        rows.append(row[column].astype(np.int32))
        columns.append(column.astype(np.int32))
        values.append(_elements(hamiltonian, terms, states[column], real))
    coordinates = (np.concatenate(rows), np.concatenate(columns))
    size = len(states)
    return coo_array((np.concatenate(values), coordinates), shape=(size, size)).tocsr()


def _elements(hamiltonian: PauliSum, terms: np.ndarray, states: np.ndarray, real: bool) -> np.ndarray:
    """sum over terms of one flip mask: i^{|x & z|} (-1)^{|k & z|} coefficient at each state k."""
    total = np.zeros(len(states), dtype=np.float64 if real else np.complex128)
    for term in terms:
        z = hamiltonian.z[term]
        phase = 1j ** int(hamiltonian.x[term] & z).bit_count()
        factor = hamiltonian.coefficients[term] * (phase.real if real else phase)
        total += factor * (1 - 2 * parity(states & z))
    return total


def _ground_space(states: np.ndarray, vectors: np.ndarray | None) -> GroundSpace | None:
    if vectors is None or np.iscomplexobj(vectors):
        return None
    touched = np.abs(vectors).max(axis=0) > _AMPLITUDE_MIN
    support, amplitudes = states[touched], vectors[:, touched]
    strongest = np.argmax(np.abs(amplitudes), axis=1)
    signs = np.sign(amplitudes[np.arange(len(amplitudes)), strongest])
    return GroundSpace(support, amplitudes * signs[:, None])
