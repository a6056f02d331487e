"""A Clifford circuit that turns commuting Pauli strings into products of Z.

A rotation R = exp(-i pi/4 Q) takes a Pauli P that anticommutes with Q to -i Q P, and leaves one that commutes
alone. With Q = i Z_q P, for a qubit q on which P has X or Y, it takes P to Z_q. Whatever commutes with P then
has I or Z on q, so strings are cleared one after another, each by one rotation on its own qubits only (the
idea of arXiv:2003.13599, with Pauli rotations as the only gates).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from problems.pauli import QUBITS_MAX, parity


@dataclass(frozen=True, eq=False)
class Diagonalization:
    """What a commuting set becomes.

    Attributes:
        rotations: (x, z) of the Pauli rotations by pi/2, in the order in which they act on a state.
        support: int64 masks, shape (terms,): term t becomes sign[t] * Z^support[t].
        sign: +1 or -1, shape (terms,).
    """

    rotations: tuple[tuple[int, int], ...]
    support: np.ndarray
    sign: np.ndarray


def diagonalize(x: np.ndarray, z: np.ndarray) -> Diagonalization:
    """Diagonalize the commuting strings P(x, z).

    Args:
        x, z: int64 masks, shape (terms,).

    Raises:
        ValueError: two of them do not commute.
    """
    x, z, sign = x.copy(), z.copy(), np.ones(len(x), dtype=np.int64)
    rotations = []
    while (left := np.flatnonzero(x)).size:
        weights = np.bitwise_count(x[left] | z[left])
        lightest = left[int(np.argmin(weights))]
        qubit = int(x[lightest]) & -int(x[lightest])
        q_x, q_z = int(x[lightest]), int(z[lightest]) ^ qubit
        rotations.append((q_x, q_z))
        x, z, sign = _conjugate(x, z, sign, q_x, q_z)
        if len(rotations) > QUBITS_MAX:
            raise ValueError("the strings do not commute")
    return Diagonalization(tuple(rotations), z, sign)


def _conjugate(
    x: np.ndarray, z: np.ndarray, sign: np.ndarray, q_x: int, q_z: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Strings after exp(-i pi/4 Q): those that anticommute with Q become -i Q P."""
    moved = (parity(x & q_z) ^ parity(z & q_x)).astype(bool)
    new_x, new_z = x ^ q_x, z ^ q_z
    # P(a) P(b) = i^power P(a ^ b), with P(x, z) = i^{|x & z|} X^x Z^z and Z^z X^x' = (-1)^{|z & x'|} X^x' Z^z
    power = (
        np.bitwise_count(np.int64(q_x & q_z)).astype(np.int64)
        + np.bitwise_count(x & z).astype(np.int64)
        - np.bitwise_count(new_x & new_z).astype(np.int64)
        + 2 * parity(q_z & x)
    )
    factor = np.where((power - 1) % 4 == 0, 1, -1)  # -i * i^power is real where they anticommute
    return (
        np.where(moved, new_x, x),
        np.where(moved, new_z, z),
        np.where(moved, factor * sign, sign),
    )
