from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from problems import references
from problems.pauli import PauliSum
from problems.references import determinants, ground_state, restricted_matrix
from problems.sector import Sector

Dense = Callable[[PauliSum], np.ndarray]


def random_sum(n: int, terms: int, seed: int) -> PauliSum:
    rng = np.random.default_rng(seed)
    strings = ["".join(rng.choice(list("IXYZ"), n)) for _ in range(terms)]
    return PauliSum.from_strings(list(zip(strings, rng.standard_normal(terms).tolist(), strict=True)))


def ising_chain(n: int, field: float) -> PauliSum:
    bonds = {"I" * q + "ZZ" + "I" * (n - q - 2): -1.0 for q in range(n - 1)}
    return PauliSum.from_strings(bonds | {"I" * q + "X" + "I" * (n - q - 1): -field for q in range(n)})


def free_fermion_energy(n: int, field: float) -> float:
    """Open transverse-field Ising chain: minus the sum of singular values of its quadratic form (Pfeuty)."""
    return -float(np.linalg.svd(field * np.eye(n) + np.diag(np.ones(n - 1), 1), compute_uv=False).sum())


@settings(max_examples=25, deadline=None)
@given(n=st.integers(1, 5), terms=st.integers(1, 12), seed=st.integers(0, 2**32 - 1))
def test_restricted_matrix_is_the_dense_one(dense: Dense, n: int, terms: int, seed: int) -> None:
    hamiltonian = random_sum(n, terms, seed)
    matrix = restricted_matrix(hamiltonian, np.arange(1 << n))
    assert matrix is not None
    np.testing.assert_allclose(matrix.toarray(), dense(hamiltonian), atol=1e-12)


@settings(max_examples=25, deadline=None)
@given(n=st.integers(1, 5), terms=st.integers(1, 12), seed=st.integers(0, 2**32 - 1))
def test_ground_space_is_the_lowest_level(dense: Dense, n: int, terms: int, seed: int) -> None:
    hamiltonian = random_sum(n, terms, seed)
    reference = ground_state(hamiltonian)
    assert reference is not None
    energies = np.linalg.eigvalsh(dense(hamiltonian))
    assert reference.energy == pytest.approx(energies[0], abs=1e-9)
    if reference.ground is None:
        assert np.any(np.bitwise_count(hamiltonian.x & hamiltonian.z) & 1)
        return
    degeneracy = int(np.count_nonzero(energies < energies[0] + 1e-8))
    if reference.ground.amplitudes is None:
        assert len(reference.ground.support) == degeneracy
        return
    vectors = np.zeros((degeneracy, 1 << n))
    vectors[:, reference.ground.support] = reference.ground.amplitudes
    np.testing.assert_allclose(vectors @ vectors.T, np.eye(len(vectors)), atol=1e-8)
    np.testing.assert_allclose(dense(hamiltonian) @ vectors.T, energies[0] * vectors.T, atol=1e-7)


def test_lanczos_agrees_with_free_fermions() -> None:
    reference = ground_state(ising_chain(12, 0.8))
    assert reference is not None
    assert reference.ground is not None
    assert reference.energy == pytest.approx(free_fermion_energy(12, 0.8), abs=1e-8)
    assert reference.method == "exact diagonalization"


def test_lanczos_collects_a_degenerate_level() -> None:
    """An odd Heisenberg ring: spin 1/2 and two momenta make four ground states."""
    n = 11  # 2048 states: beyond the dense solver
    pairs = [(q, (q + 1) % n) for q in range(n)]
    strings = [
        ("".join(letter if q in pair else "I" for q in range(n)), 1.0) for pair in pairs for letter in "XYZ"
    ]
    reference = ground_state(PauliSum.from_strings(strings))
    assert reference is not None
    assert reference.ground is not None
    assert reference.ground.amplitudes is not None
    assert len(reference.ground.amplitudes) == 4


def test_a_sector_hides_lower_states_of_other_electron_numbers() -> None:
    number = PauliSum.from_strings({"ZIII": 1.0, "IZII": 1.0, "IIZI": 1.0, "IIIZ": 1.0, "XIXI": 0.1})
    sector = Sector(orbitals=2, electrons_alpha=1, electrons_beta=1)
    np.testing.assert_array_equal(determinants(sector), [0b0011, 0b0110, 0b1001, 0b1100])
    inside, anywhere = ground_state(number, sector), ground_state(number)
    assert inside is not None
    assert anywhere is not None
    assert inside.energy == pytest.approx(-0.1)
    assert inside.energy > anywhere.energy
    assert inside.ground is not None
    assert set(inside.ground.support) <= set(determinants(sector))


def test_what_is_not_affordable_has_no_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ground_state(ising_chain(16, 1.0)) is None
    chain = ising_chain(6, 1.0)
    monkeypatch.setattr(references, "NONZEROS_MAX", 10)
    assert ground_state(chain) is None
    monkeypatch.setattr(references, "WORK_MAX", 10)
    assert ground_state(chain) is None


def test_very_degenerate_levels_have_an_energy_but_no_space() -> None:
    reference = ground_state(PauliSum.from_strings({"X" + "I" * 7: 1.0}))
    assert reference is not None
    assert (reference.energy, reference.ground) == (pytest.approx(-1.0), None)
