"""Maximum cut: weighted graphs as Hamiltonians whose energy is minus the cut."""

from __future__ import annotations

from problems.ising_model import IsingModel
from problems.pauli import QUBITS_MAX, PauliSum
from problems.problem import Problem
from problems.quadratic_terms import check_qubits, count_nodes
from problems.references import ground_state
from problems.relaxation import goemans_williamson
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
    n_qubits, terms = cut_terms(spec)
    hamiltonian = PauliSum.from_terms(n_qubits, {(0, z): value for z, value in terms.items()})
    reference = ground_state(hamiltonian)
    baseline = goemans_williamson(IsingModel.from_terms(n_qubits, terms)).reference()
    if reference is None or (not reference.exact and baseline.energy < reference.energy):
        reference = baseline
    return Problem(spec.kind, hamiltonian, reference=reference, baseline=baseline)


def cut_terms(spec: MaxCutSpec, nodes_max: int = QUBITS_MAX) -> tuple[int, dict[int, float]]:
    """(nodes, {Z mask: coefficient}) of the Hamiltonian of `maxcut_problem`; same errors."""
    if spec.edges is None and spec.generator is None:
        raise ValueError("inline the spec first: its graph is still in a file")
    if spec.generator is None:
        field, edges, nodes = "problem.edges", spec.edges or (), spec.nodes
    else:
        check_qubits(spec.generator.nodes, "problem.generator.nodes", nodes_max)
        field, edges, nodes = "problem.generator", generate(spec.generator), spec.generator.nodes
        if spec.nodes not in (None, nodes):
            raise SpecError("problem.nodes", spec.nodes, f"the generator makes {nodes}", "remove `nodes`")
    for u, v, _ in edges:
        if u == v:
            raise SpecError(field, [u, v], "an edge from a node to itself is never cut", "remove it")
    count = count_nodes(edges, nodes, field, nodes_max)
    terms = {1 << u | 1 << v: weight / 2 for u, v, weight in edges}
    terms[0] = -sum(weight for _, _, weight in edges) / 2
    return count, terms


def generate(generator: RandomRegular | ErdosRenyi) -> tuple[Edge, ...]:
    """Edges u < v of a random graph by networkx, ascending, each of weight 1.

    The same generator gives the same graph; see `networkx.random_regular_graph`, `gnp_random_graph`.
    """
    import networkx as nx

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
