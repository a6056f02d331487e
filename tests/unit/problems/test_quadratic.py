from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from problems.quadratic import ising_problem, qubo_problem
from shotwise.errors import CannotRunError, SpecError
from shotwise.spec import IsingSpec, QuboSpec

pairs = st.tuples(st.integers(0, 5), st.integers(0, 5)).map(lambda pair: (min(pair), max(pair)))
terms = st.dictionaries(pairs, st.floats(-10, 10).filter(lambda v: abs(v) > 1e-3), min_size=1, max_size=10)


@settings(max_examples=40, deadline=None)
@given(terms, st.floats(-5, 5))
def test_energies_are_the_function(values: dict[tuple[int, int], float], constant: float) -> None:
    listed = tuple((i, j, v) for (i, j), v in values.items())
    qubo = qubo_problem(QuboSpec(kind="qubo", terms=listed, nodes=6, constant=constant))
    ising = ising_problem(IsingSpec(kind="ising", terms=listed, nodes=6, constant=constant))
    qubo_energies, ising_energies = qubo.hamiltonian.diagonal(), ising.hamiltonian.diagonal()
    for state in range(64):
        x = [state >> q & 1 for q in range(6)]
        s = [1 - 2 * bit for bit in x]
        assert qubo_energies[state] == pytest.approx(constant + sum(v * x[i] * x[j] for i, j, v in listed))
        fields = sum(v * (s[i] if i == j else s[i] * s[j]) for i, j, v in listed)
        assert ising_energies[state] == pytest.approx(constant + fields)


def test_fields_that_cancel_leave_no_terms() -> None:
    qubo = qubo_problem(QuboSpec(kind="qubo", terms=((0, 0, 0.1), (1, 1, 0.1), (0, 1, -0.2))))
    assert sorted(qubo.hamiltonian.strings()) == ["II", "ZZ"]


@pytest.mark.parametrize("make", [qubo_problem, ising_problem])
@pytest.mark.parametrize(
    ("fields", "field", "complaint"),
    [
        ({"terms": ()}, "problem.terms", "empty"),
        ({"terms": ((0, 0, 0.0),)}, "problem.terms", "all zero"),
        ({"terms": ((0, 1, 1.0), (1, 0, 1.0))}, "problem.terms", "add the two values up"),
        ({"terms": ((0, 3, 1.0),), "nodes": 3}, "problem.terms", "outside 0 to 2"),
        ({"terms": ((-1, 0, 1.0),)}, "problem.terms", "outside"),
        ({"terms": ((0, 1, float("nan")),)}, "problem.terms", "finite"),
        ({"terms": ((0, 1, 1.0),), "constant": float("inf")}, "problem.constant", "finite"),
    ],
)
def test_rejects(make: Any, fields: dict[str, Any], field: str, complaint: str) -> None:
    kind, model = ("qubo", QuboSpec) if make is qubo_problem else ("ising", IsingSpec)
    good = model.model_validate({"kind": kind, "terms": ((0, 1, 1.0),)})
    with pytest.raises(SpecError, match=complaint) as caught:
        make(good.model_copy(update=fields))
    assert caught.value.field == field


def test_too_many_variables() -> None:
    with pytest.raises(CannotRunError, match="62 qubits"):
        qubo_problem(QuboSpec(kind="qubo", terms=((0, 0, 1.0),), nodes=63))


def test_a_spec_still_in_a_file_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="inline"):
        ising_problem(IsingSpec(kind="ising", file="chain.txt"))


def test_a_small_term_beside_a_large_one_is_kept() -> None:
    ising = ising_problem(IsingSpec(kind="ising", terms=((0, 1, 1e15), (2, 3, 1.0))))
    assert sorted(ising.hamiltonian.strings()) == ["IIII", "IIZZ", "ZZII"]
