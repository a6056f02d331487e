"""The Jordan-Wigner form of an electronic Hamiltonian, as symplectic arithmetic on whole arrays."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from problems.pauli import PauliSum, parity

_DROP_RELATIVE = 1e-12


class _Strings(NamedTuple):
    """Weighted Pauli strings: string t adds weight[t] P(x[t], z[t]) to the operator of pair[t]."""

    x: np.ndarray
    z: np.ndarray
    weight: np.ndarray
    pair: np.ndarray


def jordan_wigner(core_energy: float, one_body: np.ndarray, two_body: np.ndarray) -> PauliSum:
    """Map H = E + sum h_pq E_pq + 1/2 sum (pq|rs) (E_pq E_rs - [q = r] E_ps) to qubits.

    E_pq = sum over spins of a^dagger_p a_q; spatial orbital p holds qubits 2p (alpha) and 2p + 1 (beta).
    Reference: Helgaker, Jorgensen, Olsen, Molecular Electronic-Structure Theory (2000), chapter 2;
    Jordan and Wigner, Z. Phys. 47, 631 (1928). With real orbitals E_pq always comes with E_qp, so that H is
    a quadratic form in the m(m+1)/2 Hermitian operators Q_pq = E_pq + E_qp (Q_pp = E_pp), four strings each.

    Args:
        core_energy: in hartree.
        one_body: h_pq, shape (m, m), symmetric.
        two_body: (pq|rs) in chemists' notation, shape (m, m, m, m), of real orbitals (eightfold symmetric).

    Returns:
        A sum on 2m qubits, in hartree; terms below 1e-12 of the largest are dropped.
    """
    m = len(one_body)
    p, q = np.triu_indices(m)
    strings = _pair_operators(p, q)
    linear = (one_body - 0.5 * np.einsum("prrq->pq", two_body))[p, q]
    quadratic = 0.5 * two_body[p[:, None], q[:, None], p[None, :], q[None, :]]
    product = _products(strings, quadratic)
    return PauliSum.from_arrays(
        2 * m,
        np.concatenate([[0], strings.x, product.x]),
        np.concatenate([[0], strings.z, product.z]),
        np.concatenate([[core_energy], strings.weight * linear[strings.pair], product.weight]),
        drop_below_relative=_DROP_RELATIVE,
    )


def _pair_operators(p: np.ndarray, q: np.ndarray) -> _Strings:
    """Q_pq of every orbital pair p <= q.

    Per spin, a^dagger_p a_q + a^dagger_q a_p = (X Z..Z X + Y Z..Z Y) / 2 and a^dagger_p a_p = (1 - Z) / 2.
    """
    index = np.arange(len(p), dtype=np.int64)
    same = p == q
    parts = []
    for spin in (0, 1):
        low, high = _bit(2 * p + spin), _bit(2 * q + spin)
        between = np.where(same, 0, (high - 1) ^ (2 * low - 1))
        ends = low | high
        flip = np.where(same, 0, ends)
        # first string: 1/2 identity or 1/2 XZ..ZX; second: -1/2 Z or 1/2 YZ..ZY
        parts.append(_Strings(flip, between, np.full(len(p), 0.5), index))
        parts.append(_Strings(flip, between | ends, np.where(same, -0.5, 0.5), index))
    return _Strings(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _bit(qubit: np.ndarray) -> np.ndarray:
    return np.left_shift(np.int64(1), qubit.astype(np.int64))


def _products(strings: _Strings, quadratic: np.ndarray) -> _Strings:
    """sum over s, t of quadratic[pair s, pair t] P_s P_t; anticommuting pairs cancel as it is symmetric."""
    x, z, weight, pair = strings
    s, t = np.triu_indices(len(x))
    factor = quadratic[pair[s], pair[t]] * weight[s] * weight[t] * np.where(s == t, 1.0, 2.0)
    commuting = parity(x[s] & z[t]) == parity(z[s] & x[t])
    keep = commuting & (factor != 0.0)
    s, t, factor = s[keep], t[keep], factor[keep]
    # P_s P_t = i^{y_s + y_t - y} (-1)^{|z_s & x_t|} P(x, z): an even power of i where they commute
    flip, phase = x[s] ^ x[t], z[s] ^ z[t]
    y = [np.bitwise_count(mask).astype(np.int64) for mask in (x[s] & z[s], x[t] & z[t], flip & phase)]
    half_turns = (y[0] + y[1] - y[2]) // 2 + parity(z[s] & x[t])
    return _Strings(flip, phase, factor * (1 - 2 * (half_turns & 1)), pair[s])
