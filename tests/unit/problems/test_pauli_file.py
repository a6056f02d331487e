from __future__ import annotations

import pytest

from problems.pauli_file import pauli_problem
from shotwise.errors import CannotRunError, SpecError
from shotwise.spec import PauliSpec


def test_ground_state_of_a_bell_hamiltonian() -> None:
    problem = pauli_problem(PauliSpec(kind="pauli", terms={"XX": -1.0, "ZZ": -1.0, "II": 0.5}))
    assert problem.reference is not None
    assert problem.reference.energy == pytest.approx(-1.5)
    assert problem.reference.ground is not None
    assert problem.reference.ground.support.tolist() == [0, 3]


def test_diagonal_sums_are_searched() -> None:
    problem = pauli_problem(PauliSpec(kind="pauli", terms={"ZZZ": 1.0}))
    assert problem.reference is not None
    assert problem.reference.method == "brute force"


def test_imaginary_hamiltonians_have_an_energy_but_no_real_ground_space() -> None:
    problem = pauli_problem(PauliSpec(kind="pauli", terms={"YI": 1.0, "ZZ": 1.0}))
    assert problem.reference is not None
    assert problem.reference.energy == pytest.approx(-(2**0.5))
    assert problem.reference.ground is None


@pytest.mark.parametrize(
    ("terms", "complaint"),
    [
        ({}, "empty"),
        ({"": 1.0}, "not a Pauli string"),
        ({"XA": 1.0}, "not a Pauli string"),
        ({"xz": 1.0}, "not a Pauli string"),
        ({"X\n": 1.0}, "not a Pauli string"),
        ({"XX": 1.0, "XXX": 1.0}, "3 letters, others have 2"),
        ({"XX": float("nan")}, "finite"),
        ({"XX": float("inf")}, "finite"),
        ({"II": 1.0}, "nothing but the identity"),
        ({"II": 1.0, "XX": 0.0}, "nothing but the identity"),
        ({"XX": 1e308, "YY": 1e308}, "too large"),
        ({"XX": 1e200}, r"too large, above 1e\+100 in all \(got 1e\+200\); scale them down"),
        ({"II": 1.0, "XX": -1e-200}, r"too small, all below 1e-100 \(got 1e-200\); scale them up"),
    ],
)
def test_rejects(terms: dict[str, float], complaint: str) -> None:
    good = PauliSpec(kind="pauli", terms={"Z": 1.0})
    with pytest.raises(SpecError, match=complaint) as caught:
        pauli_problem(good.model_copy(update={"terms": terms}))
    assert caught.value.field == "problem.terms"


def test_too_many_qubits() -> None:
    with pytest.raises(CannotRunError, match="62 qubits"):
        pauli_problem(PauliSpec(kind="pauli", terms={"Z" * 63: 1.0}))


def test_a_spec_still_in_a_file_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="inline"):
        pauli_problem(PauliSpec(kind="pauli", file="h.json"))
