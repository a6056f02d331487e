"""Quadratic functions of binary variables (QUBO) and of spins (Ising) as diagonal Hamiltonians."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable

from problems.pauli import QUBITS_MAX, PauliSum
from problems.problem import Problem
from problems.quadratic_terms import count_nodes
from problems.references import ground_state
from shotwise.errors import SpecError
from shotwise.spec import IsingSpec, QuboSpec

_FIELD = "problem.terms"
_CANCELLED_RELATIVE = 1e-14


def qubo_problem(spec: QuboSpec) -> Problem:
    """Minimise constant + sum of value x_i x_j over bits, x_i = (1 - Z_i) / 2; i = j is linear.

    Variable i is qubit i and x_i is the qubit's bit, so a sampled basis state reads as the solution.

    Raises:
        SpecError: no terms, a pair twice, an index out of range, values not finite, or nothing to minimise.
        CannotRunError: more than 62 variables.
    """
    return _problem(spec)


def ising_problem(spec: IsingSpec) -> Problem:
    """Minimise constant + sum of value s_i s_j over spins, s_i = Z_i; i = j is the field value * s_i.

    Spin i is qubit i; bit 0 is s = +1. Errors as `qubo_problem`.
    """
    return _problem(spec)


def _problem(spec: QuboSpec | IsingSpec) -> Problem:
    n_qubits, terms = quadratic_form(spec)
    hamiltonian = PauliSum.from_terms(n_qubits, {(0, z): value for z, value in terms.items()})
    return Problem(spec.kind, hamiltonian, reference=ground_state(hamiltonian))


def quadratic_form(spec: QuboSpec | IsingSpec, nodes_max: int = QUBITS_MAX) -> tuple[int, dict[int, float]]:
    """(variables, {Z mask: coefficient}) of a form's Hamiltonian; errors as `qubo_problem`."""
    if spec.terms is None:
        raise ValueError("inline the spec first: its terms are still in a file")
    expand = _qubo_terms if isinstance(spec, QuboSpec) else _ising_terms
    n_qubits = count_nodes(spec.terms, spec.nodes, _FIELD, nodes_max)
    if not math.isfinite(spec.constant):
        raise SpecError("problem.constant", spec.constant, "not a finite number", "give a finite number")
    terms: dict[int, float] = defaultdict(float)
    sizes: dict[int, float] = defaultdict(float)
    terms[0] = spec.constant
    for i, j, value in spec.terms:
        for z, coefficient in expand(i, j, value):
            terms[z] += coefficient
            sizes[z] += abs(coefficient)
    # fields that cancel, as x_i - 2 x_i x_j does, leave rounding errors of what they are made of
    return n_qubits, {z: c for z, c in terms.items() if abs(c) > _CANCELLED_RELATIVE * sizes[z] or z == 0}


def _qubo_terms(i: int, j: int, value: float) -> Iterable[tuple[int, float]]:
    if i == j:
        return [(0, value / 2), (1 << i, -value / 2)]
    return [(0, value / 4), (1 << i, -value / 4), (1 << j, -value / 4), (1 << i | 1 << j, value / 4)]


def _ising_terms(i: int, j: int, value: float) -> Iterable[tuple[int, float]]:
    return [(1 << i | 1 << j, value)]
