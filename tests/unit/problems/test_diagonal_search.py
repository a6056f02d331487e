from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from problems import diagonal_search
from problems.diagonal_search import brute_force, local_search, minimum
from problems.pauli import PauliSum


def random_diagonal(n: int, terms: int, seed: int) -> PauliSum:
    rng = np.random.default_rng(seed)
    masks = rng.integers(0, 1 << n, terms).tolist()
    return PauliSum.from_terms(n, {(0, z): float(rng.integers(-3, 4)) for z in masks})


@settings(max_examples=30, deadline=None)
@given(n=st.integers(1, 14), terms=st.integers(1, 20), seed=st.integers(0, 2**32 - 1))
def test_brute_force_finds_every_minimum(n: int, terms: int, seed: int) -> None:
    hamiltonian = random_diagonal(n, terms, seed)
    diagonal = hamiltonian.diagonal()
    energy, states = brute_force(hamiltonian)
    assert energy == pytest.approx(diagonal.min())
    np.testing.assert_array_equal(states, np.flatnonzero(diagonal <= diagonal.min() + 1e-6))


def test_blocks_join_up() -> None:
    """More qubits than one block of rows holds."""
    hamiltonian = random_diagonal(22, 40, 5)
    energy, states = brute_force(hamiltonian)
    assert states is not None
    np.testing.assert_allclose(hamiltonian.diagonal_at(states), energy)
    assert np.all(np.diff(states) > 0)


def test_too_many_minima_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagonal_search, "GROUND_STATES_MAX", 7)
    reference = minimum(PauliSum.from_strings({"ZIII": 1.0}))
    assert (reference.energy, reference.exact, reference.ground) == (-1.0, True, None)


@pytest.mark.parametrize("seed", range(3))
def test_local_search_reaches_the_minimum_of_small_problems(seed: int) -> None:
    hamiltonian = random_diagonal(12, 30, seed)
    assert local_search(hamiltonian) == pytest.approx(hamiltonian.diagonal().min())


def test_large_problems_are_searched() -> None:
    chain = {(0, 0b11 << q): 1.0 for q in range(61)} | {(0, 1): 0.5}
    reference = minimum(PauliSum.from_terms(62, chain))
    assert (reference.method, reference.exact, reference.ground) == ("local search", False, None)
    assert -61.5 <= reference.energy < -45
    assert reference.energy == minimum(PauliSum.from_terms(62, chain)).energy
