from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from problems.graphs import generate, maxcut_problem
from shotwise.errors import CannotRunError, SpecError
from shotwise.spec import ErdosRenyi, MaxCutSpec, RandomRegular


def spec(**fields: Any) -> MaxCutSpec:
    return MaxCutSpec(kind="maxcut", **fields)


def test_energy_is_minus_the_cut() -> None:
    edges = ((0, 1, 1.0), (2, 1, 2.5), (0, 3, -1.0), (1, 3, 0.0))
    problem = maxcut_problem(spec(edges=edges))
    assert problem.is_cut
    for state, energy in enumerate(problem.hamiltonian.diagonal()):
        cut = sum(w for u, v, w in edges if (state >> u & 1) != (state >> v & 1))
        assert energy == pytest.approx(-cut)
    assert problem.reference is not None
    assert (problem.reference.energy, problem.reference.method) == (pytest.approx(-3.5), "brute force")
    assert problem.unit == ""


def test_isolated_and_disconnected_nodes_are_kept() -> None:
    problem = maxcut_problem(spec(nodes=6, edges=((0, 1, 1.0), (3, 4, 1.0))))
    assert problem.n_qubits == 6
    assert problem.reference is not None
    assert problem.reference.ground is not None
    assert len(problem.reference.ground.support) == 2 * 2 * 4


def test_generators_are_seeded() -> None:
    regular = RandomRegular(name="random_regular", degree=3, nodes=12, seed=5)
    edges = generate(regular)
    assert edges == generate(regular)
    assert edges != generate(regular.model_copy(update={"seed": 6}))
    assert np.all(np.bincount([node for u, v, _ in edges for node in (u, v)]) == 3)
    sparse = ErdosRenyi(name="erdos_renyi", probability=0.3, nodes=10, seed=1)
    assert all(0 <= u < v < 10 and w == 1.0 for u, v, w in generate(sparse))
    assert maxcut_problem(spec(generator=sparse)).n_qubits == 10


@pytest.mark.parametrize(
    ("fields", "field", "complaint"),
    [
        ({"edges": ()}, "problem.edges", "empty"),
        ({"edges": ((1, 1, 1.0),)}, "problem.edges", "itself"),
        ({"edges": ((0, -1, 1.0),)}, "problem.edges", "outside 0 to 0"),
        ({"edges": ((0, 2, 1.0),), "nodes": 2}, "problem.edges", "outside 0 to 1"),
        ({"edges": ((0, 1, 1.0), (1, 0, 2.0))}, "problem.edges", "appears twice"),
        ({"edges": ((0, 1, 0.0),)}, "problem.edges", "all zero"),
        ({"edges": ((0, 1, 1e308), (0, 2, 1e308))}, "problem.edges", "too large"),
        ({"edges": ((0, 1, 5e-324),)}, "problem.edges", "too small"),
        (
            {"generator": {"name": "random_regular", "degree": 3, "nodes": 5}},
            "problem.generator.degree",
            "even",
        ),
        (
            {"generator": {"name": "random_regular", "degree": 4, "nodes": 4}},
            "problem.generator.degree",
            "at most 3",
        ),
        (
            {"generator": {"name": "erdos_renyi", "probability": 1e-9, "nodes": 4}},
            "problem.generator",
            "no edges",
        ),
        (
            {"generator": {"name": "erdos_renyi", "probability": 0.5, "nodes": 4}, "nodes": 5},
            "problem.nodes",
            "the generator makes 4",
        ),
    ],
)
def test_rejects(fields: dict[str, Any], field: str, complaint: str) -> None:
    with pytest.raises(SpecError, match=complaint) as caught:
        maxcut_problem(spec(**fields))
    assert caught.value.field == field


@pytest.mark.parametrize("weight", [float("nan"), float("inf"), float("-inf")])
def test_rejects_weights_that_came_from_a_file(weight: float) -> None:
    with pytest.raises(SpecError, match="finite"):
        maxcut_problem(spec(edges=((0, 1, 1.0),)).model_copy(update={"edges": ((0, 1, weight),)}))


def test_too_many_nodes() -> None:
    with pytest.raises(CannotRunError, match="62 qubits"):
        maxcut_problem(spec(edges=((0, 62, 1.0),)))
    huge = ErdosRenyi(name="erdos_renyi", probability=0.5, nodes=100_000)
    with pytest.raises(CannotRunError, match="62 qubits"):
        maxcut_problem(spec(generator=huge))


def test_a_spec_still_in_a_file_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="inline"):
        maxcut_problem(spec(file="graph.txt"))
