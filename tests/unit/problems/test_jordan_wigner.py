from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from problems.jordan_wigner import jordan_wigner
from problems.pauli import PauliSum

Dense = Callable[[PauliSum], np.ndarray]


def annihilator(q: int, n: int) -> np.ndarray:
    """a_q = Z..Z (X + iY)/2, by its action: remove the electron, with the parity of those below."""
    matrix = np.zeros((1 << n, 1 << n))
    for k in range(1 << n):
        if k >> q & 1:
            matrix[k ^ (1 << q), k] = (-1) ** (k & ((1 << q) - 1)).bit_count()
    return matrix


def second_quantized(core: float, one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """The textbook sum over spin orbitals, normal ordered."""
    m = len(one)
    a = [annihilator(q, 2 * m) for q in range(2 * m)]
    total = core * np.eye(1 << 2 * m)
    for p, q in np.ndindex(m, m):
        for s in (0, 1):
            total += one[p, q] * a[2 * p + s].T @ a[2 * q + s]
    for p, q, r, t in np.ndindex(m, m, m, m):
        for s, u in np.ndindex(2, 2):
            term = a[2 * p + s].T @ a[2 * r + u].T @ a[2 * t + u] @ a[2 * q + s]
            total += 0.5 * two[p, q, r, t] * term
    return total


def random_integrals(m: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    one = rng.standard_normal((m, m))
    two = rng.standard_normal((m, m, m, m))
    two = two + two.transpose(1, 0, 2, 3)
    two = two + two.transpose(0, 1, 3, 2)
    return one + one.T, two + two.transpose(2, 3, 0, 1)


def test_annihilators_anticommute() -> None:
    a = [annihilator(q, 4) for q in range(4)]
    for p, q in np.ndindex(4, 4):
        np.testing.assert_array_equal(a[p] @ a[q].T + a[q].T @ a[p], np.eye(16) * (p == q))
        np.testing.assert_array_equal(a[p] @ a[q] + a[q] @ a[p], np.zeros((16, 16)))


@settings(max_examples=10, deadline=None)
@given(m=st.integers(1, 3), seed=st.integers(0, 2**32 - 1))
def test_equals_the_second_quantized_sum(dense: Dense, m: int, seed: int) -> None:
    one, two = random_integrals(m, seed)
    expected = second_quantized(0.7, one, two)
    np.testing.assert_allclose(dense(jordan_wigner(0.7, one, two)), expected, atol=1e-11)


def test_strings_are_real_and_conserve_particles(dense: Dense) -> None:
    hamiltonian = jordan_wigner(0.0, *random_integrals(2, 1))
    assert not np.any(np.bitwise_count(hamiltonian.x & hamiltonian.z) & 1)
    number = np.diag(np.bitwise_count(np.arange(16)).astype(float))
    matrix = dense(hamiltonian)
    np.testing.assert_allclose(matrix @ number, number @ matrix, atol=1e-12)


def test_tiny_terms_are_dropped_but_the_constant_kept() -> None:
    one = np.array([[-1.0, 1e-14], [1e-14, -0.5]])
    hamiltonian = jordan_wigner(0.75, one, np.zeros((2, 2, 2, 2)))
    assert hamiltonian.is_diagonal
    assert hamiltonian.constant == pytest.approx(0.75 - 1.5)


def test_largest_supported_active_space_is_quick() -> None:
    one, two = random_integrals(10, 0)
    assert jordan_wigner(0.0, one, two).n_qubits == 20
