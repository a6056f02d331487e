"""Minima of diagonal Hamiltonians: every state up to 24 qubits, many descents above."""

from __future__ import annotations

import numpy as np

from problems.pauli import PauliSum, parity
from problems.problem import GroundSpace, Reference

BRUTE_FORCE_QUBITS_MAX = 24
GROUND_STATES_MAX = 65_536
"""More optimal states than this are not kept."""

_LOW_QUBITS = 12
_ROWS = 256
_TOLERANCE_RELATIVE = 1e-10
_STARTS = 1024
_CELLS_MAX = 4_000_000


def minimum(hamiltonian: PauliSum) -> Reference:
    """The least eigenvalue of a sum of I and Z: "brute force" to 24 qubits, "local search" above.

    A local search is seeded by a constant: the reference belongs to the problem, not to a run.
    """
    if hamiltonian.n_qubits <= BRUTE_FORCE_QUBITS_MAX:
        energy, states = brute_force(hamiltonian)
        ground = None if states is None else GroundSpace(states)
        return Reference(energy, "brute force", exact=True, ground=ground)
    return Reference(local_search(hamiltonian), "local search", exact=False)


def brute_force(hamiltonian: PauliSum) -> tuple[float, np.ndarray | None]:
    """The least energy and all states that reach it (to 1e-10 of the sum of magnitudes), ascending.

    The sign of a term is a product over the low and the high qubits, so energies of all states are one
    matrix product, made a block of rows at a time: 8 MiB of memory, whatever the size.

    Returns:
        (energy, int64 states), states None where there are more than `GROUND_STATES_MAX`.
    """
    low_qubits = min(hamiltonian.n_qubits, _LOW_QUBITS)
    low_part = _low_energies(hamiltonian, low_qubits)
    blocks = np.array_split(
        np.arange(1 << hamiltonian.n_qubits - low_qubits, dtype=np.int64),
        max(1, (1 << hamiltonian.n_qubits - low_qubits) // _ROWS),
    )
    least = np.array([_block(low_part, high).min() for high in blocks])
    energy, tolerance = float(least.min()), _TOLERANCE_RELATIVE * np.abs(hamiltonian.coefficients).sum()
    kept: list[np.ndarray] = []
    for high in (blocks[b] for b in np.flatnonzero(least <= energy + tolerance)):
        row, low = np.nonzero(_block(low_part, high) <= energy + tolerance)
        kept.append(high[row] << low_qubits | low)
        if sum(map(len, kept)) > GROUND_STATES_MAX:
            return energy, None
    return energy, np.concatenate(kept).astype(np.int64)


def _low_energies(hamiltonian: PauliSum, low_qubits: int) -> tuple[np.ndarray, np.ndarray]:
    """(distinct masks on the high qubits, for each the sum of its terms' low factors at all low states)."""
    low_states = np.arange(1 << low_qubits, dtype=np.int64)
    masks, group = np.unique(hamiltonian.z >> low_qubits, return_inverse=True)
    sums = np.zeros((len(masks), len(low_states)))
    low_z = hamiltonian.z & (1 << low_qubits) - 1
    for z, coefficient, at in zip(low_z, hamiltonian.coefficients, group, strict=True):
        sums[at] += coefficient * (1 - 2 * parity(low_states & z))
    return masks, sums


def _block(low_part: tuple[np.ndarray, np.ndarray], high: np.ndarray) -> np.ndarray:
    """Energies of all states with these high bits, shape (len(high), low states)."""
    masks, sums = low_part
    return (1.0 - 2.0 * parity(high[:, None] & masks[None, :])) @ sums


def local_search(hamiltonian: PauliSum, *, starts: int = _STARTS, seed: int = 0) -> float:
    """The least energy that steepest one-flip descents from random states reach.

    Args:
        starts: how many descents; fewer where there are very many terms.
    """
    terms = hamiltonian.without_constant()
    qubits = np.arange(terms.n_qubits, dtype=np.int64)
    touches = (terms.z[:, None] >> qubits & 1).astype(np.float64)
    starts = int(np.clip(_CELLS_MAX // max(1, len(terms)), 1, starts))
    states = np.random.default_rng(seed).integers(0, 1 << terms.n_qubits, size=starts, dtype=np.int64)
    tolerance = _TOLERANCE_RELATIVE * np.abs(terms.coefficients).sum()
    moving = np.ones(starts, dtype=bool)
    while moving.any():
        signs = 1.0 - 2.0 * parity(states[moving, None] & terms.z[None, :])
        change = -2.0 * (signs * terms.coefficients) @ touches
        best = change.argmin(axis=1)
        improves = change[np.arange(len(best)), best] < -tolerance
        at = np.flatnonzero(moving)
        states[at[improves]] ^= np.int64(1) << qubits[best[improves]]
        moving[at[~improves]] = False
    return float(hamiltonian.diagonal_at(states).min())
