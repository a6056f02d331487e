"""Maximum cut: weighted graphs as Hamiltonians whose energy is minus the cut."""

from __future__ import annotations

from collections.abc import Sequence

from problems.pauli import PauliSum
from problems.problem import Problem
from problems.quadratic_terms import check_qubits, count_nodes
from problems.references import ground_state
from shotwise.errors import SpecError
from shotwise.spec import ErdosRenyi, MaxCutSpec, RandomRegular

Edge = tuple[int, int, float]


def maxcut_problem(spec: MaxCutSpec) -> Problem:
    """H = sum over edges of w/2 (Z_u Z_v - 1): the energy of a basis state is minus its cut value.

    Node u is qubit u; its side is the qubit's bit. Graphs may be disconnected and weights negative.

    Raises:
        SpecError: a self-loop, a repeated edge, a node out of range, no edges, weights that are not finite
            or all zero, a regular graph that does not exist.
        CannotRunError: more than 62 nodes.
    """
    if spec.edges is None and spec.generator is None:
        raise ValueError("inline the spec first: its graph is still in a file")
    if spec.generator is None:
        field, edges, nodes = "problem.edges", spec.edges or (), spec.nodes
    else:
        field, edges, nodes = "problem.generator", generate(spec.generator), spec.generator.nodes
        if spec.nodes not in (None, nodes):
            raise SpecError("problem.nodes", spec.nodes, f"the generator makes {nodes}", "remove `nodes`")
    hamiltonian = cut_hamiltonian(edges, nodes, field=field)
    return Problem(spec.kind, hamiltonian, reference=ground_state(hamiltonian))


def cut_hamiltonian(edges: Sequence[Edge], nodes: int | None, *, field: str = "problem.edges") -> PauliSum:
    """The Hamiltonian of `maxcut_problem` from an edge list; same errors."""
    for u, v, _ in edges:
        if u == v:
            raise SpecError(field, [u, v], "an edge from a node to itself is never cut", "remove it")
    n_qubits = count_nodes(edges, nodes, field)
    terms = {(0, 1 << u | 1 << v): weight / 2 for u, v, weight in edges}
    terms[0, 0] = -sum(weight for _, _, weight in edges) / 2
    return PauliSum.from_terms(n_qubits, terms)


def generate(generator: RandomRegular | ErdosRenyi) -> tuple[Edge, ...]:
    """Edges u < v of a random graph by networkx, ascending, each of weight 1.

    The same generator gives the same graph; see `networkx.random_regular_graph`, `gnp_random_graph`.
    """
    import networkx as nx

    check_qubits(generator.nodes, "problem.generator.nodes")
    if isinstance(generator, RandomRegular):
        _check_regular(generator)
        graph = nx.random_regular_graph(generator.degree, generator.nodes, seed=generator.seed)
    else:
        graph = nx.gnp_random_graph(generator.nodes, generator.probability, seed=generator.seed)
    edges = tuple(sorted((min(edge), max(edge), 1.0) for edge in graph.edges()))
    if not edges:
        raise SpecError(
            "problem.generator", generator.name, "the graph has no edges", "raise probability, or change seed"
        )
    return edges


def _check_regular(generator: RandomRegular) -> None:
    if generator.degree >= generator.nodes:
        raise SpecError(
            "problem.generator.degree",
            generator.degree,
            f"{generator.nodes} nodes have at most {generator.nodes - 1} neighbours",
            "use a lower degree or more nodes",
        )
    if generator.degree * generator.nodes % 2:
        raise SpecError(
            "problem.generator.degree",
            generator.degree,
            f"no {generator.degree}-regular graph has {generator.nodes} nodes",
            "make degree times nodes even",
        )
