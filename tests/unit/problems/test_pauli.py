from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from problems.pauli import PauliSum, parity

strings = st.integers(1, 6).flatmap(
    lambda n: st.dictionaries(
        st.text("IXYZ", min_size=n, max_size=n), st.floats(-5, 5).filter(bool), min_size=1, max_size=8
    )
)


@given(strings)
def test_strings_round_trip(terms: dict[str, float]) -> None:
    made = PauliSum.from_strings(terms)
    assert dict(zip(made.strings(), made.coefficients.tolist(), strict=True)) == terms


@given(strings)
def test_from_arrays_adds_repeated_terms(terms: dict[str, float]) -> None:
    once = PauliSum.from_strings(terms)
    twice = PauliSum.from_arrays(
        once.n_qubits, np.tile(once.x, 2), np.tile(once.z, 2), np.tile(once.coefficients, 2)
    )
    doubled = PauliSum.from_strings({string: 2 * c for string, c in terms.items()})
    assert twice.strings() == doubled.strings()
    np.testing.assert_array_equal(twice.coefficients, doubled.coefficients)


def test_from_arrays_drops_small_terms_but_never_the_identity() -> None:
    x, z = np.array([0, 1, 2]), np.array([0, 0, 0])
    made = PauliSum.from_arrays(2, x, z, np.array([0.0, 1.0, 1e-9]), drop_below_relative=1e-6)
    assert sorted(made.strings()) == ["II", "XI"]


def test_diagonal_follows_qubit_order() -> None:
    made = PauliSum.from_strings({"ZI": 1.0, "IZ": 10.0, "II": 100.0})
    np.testing.assert_array_equal(made.diagonal(), [111, 109, 91, 89])
    np.testing.assert_array_equal(made.diagonal_at(np.array([1, 2])), [109, 91])
    assert made.constant == 100
    assert made.without_constant().constant == 0
    with pytest.raises(ValueError, match="I and Z only"):
        PauliSum.from_strings({"X": 1.0}).diagonal()


def test_parity() -> None:
    np.testing.assert_array_equal(parity(np.array([0, 1, 3, 7, 2**61])), [0, 1, 0, 1, 1])
