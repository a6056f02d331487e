"""Known maximum cuts, against an enumeration that shares no code with the problems."""

from __future__ import annotations

import itertools
import tomllib
from pathlib import Path
from typing import Any

import pytest

from problems.build import build_problem
from shotwise.spec import MaxCutSpec, load_spec

HERE = Path(__file__).parent
GRAPHS: dict[str, dict[str, Any]] = tomllib.loads((HERE / "cuts.toml").read_text())
EXAMPLES = HERE.parents[1] / "examples"


def cuts(edges: list[tuple[int, int, float]], nodes: int) -> list[float]:
    sides = itertools.product((0, 1), repeat=nodes)
    return [sum(w for u, v, w in edges if side[u] != side[v]) for side in sides]


@pytest.mark.parametrize("name", GRAPHS)
def test_graphs(name: str) -> None:
    graph = GRAPHS[name]
    edges = [(u, v, 1.0) for u, v in graph["edges"]]
    problem = build_problem(MaxCutSpec(kind="maxcut", edges=tuple(edges)))
    values = cuts(edges, problem.n_qubits)
    assert problem.reference is not None
    assert problem.reference.ground is not None
    assert -problem.reference.energy == max(values) == graph["cut"]
    assert (
        len(problem.reference.ground.support)
        == values.count(max(values))
        == graph.get("optimal", values.count(max(values)))
    )


def test_weighted_example() -> None:
    lines = [line.split() for line in (EXAMPLES / "maxcut_weighted.txt").read_text().splitlines()]
    rows = [words for words in lines if words and words[0] != "#"]
    edges = [(int(u), int(v), float(w)) for u, v, w in rows[1:]]
    problem = build_problem(load_spec(EXAMPLES / "maxcut_weighted.yaml").problem)
    assert problem.reference is not None
    assert -problem.reference.energy == pytest.approx(max(cuts(edges, 10)))


def test_portfolio_example_follows_its_derivation() -> None:
    """The inputs that portfolio_qubo.txt states, through the objective that it states."""
    returns = (0.09, 0.12, 0.05, 0.15, 0.07, 0.10)
    volatilities = (0.18, 0.25, 0.08, 0.32, 0.12, 0.20)
    sectors = "aababc"

    def covariance(i: int, j: int) -> float:
        correlation = 1.0 if i == j else 0.5 if sectors[i] == sectors[j] else 0.1
        return volatilities[i] * volatilities[j] * correlation

    def objective(held: list[int]) -> float:
        risk = sum(covariance(i, j) for i in held for j in held)
        return 2 * risk - sum(returns[i] for i in held) + 0.2 * (len(held) - 3) ** 2

    problem = build_problem(load_spec(EXAMPLES / "portfolio_qubo.yaml").problem)
    for state, energy in enumerate(problem.hamiltonian.diagonal()):
        held = [i for i in range(6) if state >> i & 1]
        assert energy == pytest.approx(objective(held), abs=1e-5)
    assert problem.reference is not None
    assert problem.reference.ground is not None
    assert problem.reference.ground.support.tolist() == [0b010101]
