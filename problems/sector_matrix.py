"""A Hamiltonian restricted to the determinants of a sector, straight from the molecule's integrals."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from problems.electronic import ElectronicHamiltonian
from problems.sector import Sector, spread, strings
from problems.sparse_rows import SparseRows

_ZERO_RELATIVE = 1e-12
"""As for Pauli terms: smaller elements are zeros by symmetry."""


@lru_cache(maxsize=2)
def sector_matrix(hamiltonian: ElectronicHamiltonian, sector: Sector) -> SparseRows:
    """<j|H|k> over the determinants of a sector: symmetric, rows in the order of `determinants`, no zeros.

    With W_pq = sum_rs (pq|rs) E_rs and h'_pq = h_pq - 1/2 sum_r (pr|rq), the strings of each spin see
    sum h'_pq E_pq + 1/2 sum E_pq W_pq, and the two spins meet in sum E_pq (alpha) W_pq (beta):
    Knowles and Handy, Chem. Phys. Lett. 111, 315 (1984).
    """
    if hamiltonian.restricted is not None and hamiltonian.restricted[0] == sector:
        return hamiltonian.restricted[1]
    from scipy.sparse import coo_array, eye_array, kron

    alpha = _Spin.of(sector.orbitals, sector.electrons_alpha)
    beta = (
        alpha
        if sector.electrons_alpha == sector.electrons_beta
        else _Spin.of(sector.orbitals, sector.electrons_beta)
    )
    identity = [eye_array(len(spin.strings), format="coo") for spin in (alpha, beta)]
    alone = [kron(_alone(hamiltonian, alpha), identity[1], format="coo")]
    alone += [kron(identity[0], _alone(hamiltonian, beta), format="coo")]
    parts = [(part.row, part.col, part.data) for part in map(coo_array, alone)] + _between(
        hamiltonian, alpha, beta
    )
    row, column, value = (np.concatenate(column) for column in zip(*parts, strict=True))
    place, sign = _interleaved(alpha.strings, beta.strings)
    matrix = coo_array((value * sign[row] * sign[column], (place[row], place[column])))
    matrix = (matrix + hamiltonian.core_energy * eye_array(sector.dimension)).tocsr()
    matrix.data[np.abs(matrix.data) <= _ZERO_RELATIVE * np.abs(matrix.data).max()] = 0.0
    matrix.eliminate_zeros()
    return SparseRows.of(matrix)


@dataclass(frozen=True, eq=False)
class _Spin:
    """One spin's strings and every a^dagger_p a_q on them, element by element.

    Attributes:
        strings: occupations, ascending.
        pair: p m + q; row, column, sign: the element, in the order of pair.
        slot: which element of `pattern`, the distinct (row, column), each adds to.
        pattern: (rows, columns).
    """

    strings: np.ndarray
    pair: np.ndarray
    row: np.ndarray
    column: np.ndarray
    sign: np.ndarray
    slot: np.ndarray
    pattern: tuple[np.ndarray, np.ndarray]

    @classmethod
    def of(cls, orbitals: int, electrons: int) -> _Spin:
        filled = strings(orbitals, electrons)
        parts = [_move(filled, p, q) for p in range(orbitals) for q in range(orbitals)]
        pair = np.repeat(np.arange(orbitals**2), [len(part[0]) for part in parts])
        row, column, sign = (np.concatenate(each) for each in zip(*parts, strict=True))
        key, slot = np.unique(row * len(filled) + column, return_inverse=True)
        return cls(filled, pair, row, column, sign, slot, np.divmod(key, len(filled)))

    def combined(self, weights: np.ndarray) -> np.ndarray:
        """sum over pairs of weight E_pq on the pattern: (..., m^2) -> (..., pattern)."""
        from scipy.sparse import coo_array

        shape = (len(self.pattern[0]), weights.shape[-1])
        return (coo_array((self.sign, (self.slot, self.pair)), shape=shape).tocsr() @ weights.T).T


def _move(filled: np.ndarray, p: int, q: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(rows, columns, signs) of a^dagger_p a_q on the strings of one spin."""
    column = np.flatnonzero((filled >> q & 1) & ((filled >> p & 1 ^ 1) | (p == q)))
    between = ((1 << max(p, q)) - 1) & ~((2 << min(p, q)) - 1)
    sign = 1.0 - 2.0 * (np.bitwise_count(filled[column] & between) & 1)
    row = np.searchsorted(filled, filled[column] ^ (1 << q) | (1 << p))
    return row, column, sign


def _alone(hamiltonian: ElectronicHamiltonian, spin: _Spin) -> Any:
    """The Hamiltonian that the electrons of one spin would have without the other."""
    from scipy.sparse import coo_array

    pairs, size = hamiltonian.one_body.size, len(spin.strings)
    fields = spin.combined(hamiltonian.two_body.reshape(pairs, pairs))
    one_body = hamiltonian.one_body - 0.5 * np.einsum("prrq->pq", hamiltonian.two_body)
    rows, columns = spin.pattern
    # sum over pq of E_pq W_pq as one product: all E side by side, times all W stacked
    side_by_side = coo_array(
        (spin.sign, (spin.row, spin.pair * size + spin.column)), shape=(size, pairs * size)
    )
    stacked_rows = (np.arange(pairs)[:, None] * size + rows).ravel()
    stacked = coo_array((fields.ravel(), (stacked_rows, np.tile(columns, pairs))), shape=(pairs * size, size))
    single = coo_array((spin.combined(one_body.ravel()), (rows, columns)), shape=(size, size))
    return single.tocsr() + 0.5 * (side_by_side.tocsr() @ stacked.tocsr())


def _between(
    hamiltonian: ElectronicHamiltonian, alpha: _Spin, beta: _Spin
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """sum E_pq (alpha) W_pq (beta) as (rows, columns, values) over (alpha, beta) pairs."""
    orbitals, size = len(hamiltonian.one_body), len(beta.strings)
    fields = beta.combined(hamiltonian.two_body.reshape(orbitals**2, orbitals**2))
    small = _ZERO_RELATIVE * np.abs(fields).max(initial=0.0)
    rows, columns = beta.pattern
    filled = alpha.strings[:, None] >> np.arange(orbitals) & 1
    own = filled @ fields[:: orbitals + 1]  # alpha strings that stay as they are: their whole field at once
    stay, kept = np.nonzero(np.abs(own) > small)
    parts = [(stay * size + rows[kept], stay * size + columns[kept], own[stay, kept])]
    starts = np.searchsorted(alpha.pair, np.arange(orbitals**2 + 1))
    for pair in range(orbitals**2):
        if pair % (orbitals + 1) == 0:
            continue
        kept = np.flatnonzero(np.abs(fields[pair]) > small)
        moved = slice(starts[pair], starts[pair + 1])
        to, start = alpha.row[moved, None] * size, alpha.column[moved, None] * size
        value = alpha.sign[moved, None] * fields[pair, kept]
        parts.append(((to + rows[kept]).ravel(), (start + columns[kept]).ravel(), value.ravel()))
    return parts


def _interleaved(alpha: np.ndarray, beta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Place of each (alpha, beta) pair among the ascending basis states, and its sign.

    A basis state creates its electrons in ascending qubits; bringing the alpha ones to the front swaps each
    with the beta electrons of lower orbitals.
    """
    states = (spread(alpha)[:, None] | spread(beta)[None, :] << 1).ravel()
    place = np.empty(len(states), dtype=np.int64)
    place[np.argsort(states)] = np.arange(len(states))
    swaps = np.zeros((len(alpha), len(beta)), dtype=np.int64)
    for p in range(int(alpha.max()).bit_length()):
        swaps += (alpha >> p & 1)[:, None] * np.bitwise_count(beta & ((1 << p) - 1))
    return place, 1.0 - 2.0 * (swaps.ravel() & 1)
