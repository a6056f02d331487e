"""The lowest level of a sparse Hermitian matrix, with every state of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

DEGENERATE = 1e-8
"""Levels this close, relative to the larger of one and the energy, are one."""

DEGENERACY_MAX = 64
"""More states than this are not returned."""

_DENSE_DIMENSION_MAX = 1024
_GROUP_DIMENSION = 256
_ZERO_RELATIVE = 1e-13
_LOOSE, _TIGHT = 1e-5, 1e-13
_LOOSE_MARGIN = 1e-3


def lowest_level(matrix: Any) -> tuple[float, np.ndarray | None] | None:
    """Lowest eigenvalue and an orthonormal basis of its eigenvectors.

    Symmetries of the basis states (point groups, parities) split a Hamiltonian into uncoupled blocks; each
    is estimated first, and only those that may hold the lowest level are solved.

    Args:
        matrix: scipy CSR array, Hermitian, shape (n, n); small elements are set to zero in place.

    Returns:
        (energy, vectors): rows of shape (degeneracy, n), or None beyond `DEGENERACY_MAX`; None as a whole
        where Lanczos does not converge.
    """
    matrix.data[np.abs(matrix.data) <= _ZERO_RELATIVE * np.abs(matrix.data).max(initial=0.0)] = 0.0
    matrix.eliminate_zeros()
    groups = list(_uncoupled(matrix))
    blocks = [matrix[group][:, group] for group in groups]
    estimates = [_estimate(block) for block in blocks]
    if None in estimates:
        return None
    lowest = min(e for e in estimates if e is not None)
    near = [at for at, e in enumerate(estimates) if e is not None and e <= lowest + _near(lowest)]
    levels = {at: _level(blocks[at]) for at in near}
    if None in levels.values():
        return None
    solved = {at: level for at, level in levels.items() if level is not None}
    energy = min(level[0] for level in solved.values())
    rows = []
    for at, (value, vectors) in solved.items():
        if value > energy + _tolerance(energy):
            continue
        if vectors is None or len(rows) + len(vectors) > DEGENERACY_MAX:
            return energy, None
        for vector in vectors:
            row = np.zeros(matrix.shape[0], dtype=matrix.dtype)
            row[groups[at]] = vector
            rows.append(row)
    return energy, np.array(rows)


def _uncoupled(matrix: Any) -> Iterator[np.ndarray]:
    """Index groups without matrix elements between them; small ones are taken together."""
    from scipy.sparse.csgraph import connected_components

    count, label = connected_components(abs(matrix), directed=False)
    sizes = np.bincount(label, minlength=count)
    by_label = np.split(np.argsort(label, kind="stable"), np.cumsum(sizes)[:-1])
    pending: list[np.ndarray] = []
    for block in by_label:
        if pending and sum(map(len, pending)) + len(block) > _GROUP_DIMENSION:
            yield np.sort(np.concatenate(pending))
            pending = []
        pending.append(block)
    yield np.sort(np.concatenate(pending))


def _estimate(block: Any) -> float | None:
    if block.shape[0] <= _DENSE_DIMENSION_MAX:
        return float(np.linalg.eigvalsh(block.toarray())[0])
    pairs = _lanczos(block, _nothing(block), 0.0, _LOOSE)
    return None if pairs is None else float(pairs[0].min())


def _level(block: Any) -> tuple[float, np.ndarray | None] | None:
    """As `lowest_level`, of one block."""
    if block.shape[0] <= _DENSE_DIMENSION_MAX:
        energies, vectors = np.linalg.eigh(block.toarray())
        energy = float(energies[0])
        found = vectors[:, energies <= energy + _tolerance(energy)].T
    else:
        pairs = _lanczos(block, _nothing(block), 0.0, _TIGHT)
        if pairs is None:
            return None
        energy = float(pairs[0].min())
        completed = _complete(block, energy, pairs[1][:, pairs[0] <= energy + _tolerance(energy)].T)
        if completed is None:
            return None
        found = completed
    return energy, found if len(found) <= DEGENERACY_MAX else None


def _complete(block: Any, energy: float, found: np.ndarray) -> np.ndarray | None:
    """All states of the level: Lanczos is sure of one only, so raise what was found and look again."""
    raise_by = max(1.0, abs(energy))
    while len(found) <= DEGENERACY_MAX:
        rough = _lanczos(block, found, raise_by, _LOOSE)
        if rough is None or rough[0].min() > energy + _near(energy):
            return None if rough is None else found
        exact = _lanczos(block, found, raise_by, _TIGHT)
        if exact is None:
            return None
        more = exact[1][:, exact[0] <= energy + _tolerance(energy)].T
        if not len(more):
            return found
        found = np.linalg.qr(np.concatenate([found, more]).T)[0].T
    return found


def _lanczos(
    block: Any, raised: np.ndarray, raise_by: float, tolerance: float
) -> tuple[np.ndarray, np.ndarray] | None:
    """Some lowest (energies, vectors as columns) of block + raise_by * projector on the rows `raised`."""
    from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

    def apply(vector: np.ndarray) -> np.ndarray:
        return block @ vector + raise_by * (raised.T @ (raised.conj() @ vector))

    # by keyword, pyright takes scipy's LinearOperator for its base class
    operator = LinearOperator(block.shape, apply, dtype=block.dtype)  # pyright: ignore[reportCallIssue]
    precision: dict[str, Any] = {"tol": tolerance}
    start = np.random.default_rng(0).standard_normal(block.shape[0])
    # one is the quickest; a near-degenerate pair converges only where several are asked for
    for count in (1, 4, 16):
        try:
            energies, vectors = eigsh(operator, count, which="SA", v0=start, maxiter=200, **precision)
        except ArpackNoConvergence:
            continue
        return np.asarray(energies), np.asarray(vectors)
    return None


def _nothing(block: Any) -> np.ndarray:
    return np.zeros((0, block.shape[0]), dtype=block.dtype)


def _tolerance(energy: float) -> float:
    return DEGENERATE * max(1.0, abs(energy))


def _near(energy: float) -> float:
    return _LOOSE_MARGIN * max(1.0, abs(energy))
