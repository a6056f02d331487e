from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from problems.ansatz import build_ansatz, grow
from problems.build import build_problem
from problems.circuit import FIXED, Circuit, Rotation
from problems.excitations import (
    excitation,
    generalized_singles_and_paired_doubles,
    singles_and_doubles,
)
from problems.pauli import PauliSum
from problems.problem import Problem
from problems.sector import Sector, determinants
from shotwise.errors import SpecError
from shotwise.spec import (
    AdaptAnsatz,
    HardwareEfficientAnsatz,
    KUpccgsdAnsatz,
    MaxCutSpec,
    MoleculeSpec,
    QaoaAnsatz,
    QuboSpec,
    RandomRegular,
    UccsdAnsatz,
)

Energy = Callable[[PauliSum, Circuit, np.ndarray], float]
Simulate = Callable[[Circuit, np.ndarray], np.ndarray]

UCCSD = UccsdAnsatz(kind="uccsd")
ADAPT = AdaptAnsatz(kind="adapt")


def molecule(geometry: str, **fields: Any) -> Problem:
    return build_problem(MoleculeSpec(kind="molecule", geometry=geometry, **fields))


@pytest.fixture(scope="module")
def h2() -> Problem:
    return molecule("H 0 0 0; H 0 0 0.7414")


def cut(edges: tuple[tuple[int, int, float], ...]) -> Problem:
    return build_problem(MaxCutSpec(kind="maxcut", edges=edges))


def ladder(q: int, n: int) -> np.ndarray:
    matrix = np.zeros((1 << n, 1 << n))
    for k in range(1 << n):
        if k >> q & 1:
            matrix[k ^ (1 << q), k] = (-1) ** (k & ((1 << q) - 1)).bit_count()
    return matrix


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ((0,), (2,)),
        ((1,), (5,)),
        ((3,), (1,)),
        ((0, 1), (2, 3)),
        ((0, 3), (2, 5)),
        ((2, 4), (0, 5)),
        ((1, 4), (2, 5)),
    ],
)
def test_an_excitation_is_the_fermionic_one(
    simulate: Simulate, source: tuple[int, ...], target: tuple[int, ...]
) -> None:
    """exp(angle/2 (T - T^dagger)), up to the sign of the angle, on every basis state."""
    from scipy.linalg import expm

    n, angle = 6, 0.7
    operator = np.eye(1 << n)
    for q in target:
        operator = operator @ ladder(q, n).T
    for q in source:
        operator = operator @ ladder(q, n)
    row = excitation(source, target)._replace(parameter=0)
    columns = [simulate(Circuit.build(n, [row], initial_state=k), np.array([angle])) for k in range(1 << n)]
    matrix = np.stack(columns, axis=1)
    assert any(
        np.allclose(matrix, expm(sign * angle / 2 * (operator - operator.T)), atol=1e-12) for sign in (1, -1)
    )


def test_a_pauli_decomposition_is_the_excitation(simulate: Simulate) -> None:
    row = excitation((0, 1), (4, 5))._replace(parameter=0)
    whole = Circuit.build(6, [row], initial_state=0b000111)
    strings = [Rotation(x, z, None, 0, factor) for x, z, factor in whole.pauli_rotations(0)]
    split = Circuit.build(6, strings, initial_state=0b000111)
    point = np.array([0.9])
    np.testing.assert_allclose(simulate(whole, point), simulate(split, point), atol=1e-12)


@pytest.mark.parametrize(
    ("sector", "doubles", "singles"),
    [
        (Sector(2, 1, 1), 1, 2),
        (Sector(6, 2, 2), 76, 16),
        (Sector(5, 1, 1), 16, 8),
        (Sector(3, 2, 1), 2 * 1 * 2 + 1 * 0, 2 * 1 + 1 * 2),
        (Sector(2, 1, 0), 0, 1),
        (Sector(2, 2, 2), 0, 0),
    ],
)
def test_singles_and_doubles(sector: Sector, doubles: int, singles: int) -> None:
    rows = singles_and_doubles(sector)
    assert [row.x.bit_count() for row in rows] == [4] * doubles + [2] * singles
    assert len(set(rows)) == len(rows)
    start, inside = sector.hartree_fock_state, set(determinants(sector).tolist())
    for row in rows:
        assert start & row.x == row.source
        assert start ^ row.x in inside
        assert row.x & row.z == 0


def test_kupccgsd_has_every_pair_of_orbitals_in_every_layer(h2: Problem) -> None:
    sector = Sector(4, 2, 2)
    rows = generalized_singles_and_paired_doubles(sector)
    assert [row.x.bit_count() for row in rows] == [4] * 6 + [2] * 12
    assert len(set(rows)) == len(rows)
    ansatz = build_ansatz(KUpccgsdAnsatz(kind="kupccgsd", k=3), h2)
    assert len(ansatz.circuit) == ansatz.circuit.n_parameters == 3 * (1 + 2)
    start = ansatz.initial_parameters(0).reshape(3, 3)
    assert not np.allclose(start[0], start[1])


def test_uccsd_of_h2_is_exact(h2: Problem, energy: Energy) -> None:
    from scipy.optimize import minimize

    ansatz = build_ansatz(UCCSD, h2)
    assert (ansatz.circuit.n_parameters, len(ansatz.circuit), ansatz.pool) == (3, 3, None)
    start = ansatz.initial_parameters(0)
    assert energy(h2.hamiltonian, ansatz.circuit, start) == pytest.approx(h2.hartree_fock_energy)
    found = minimize(lambda p: energy(h2.hamiltonian, ansatz.circuit, p), start)
    assert h2.reference is not None
    assert found.fun == pytest.approx(h2.reference.energy, abs=1e-8)


def test_uccsd_of_an_open_shell_lowers_the_energy(energy: Energy) -> None:
    from scipy.optimize import minimize

    problem = molecule("H 0 0 0; H 0 0 0.9; H 0 0 1.9", spin=1)
    ansatz = build_ansatz(UCCSD, problem)
    found = minimize(lambda p: energy(problem.hamiltonian, ansatz.circuit, p), ansatz.initial_parameters(0))
    assert problem.reference is not None
    assert problem.hartree_fock_energy is not None
    assert problem.reference.energy - 1e-9 <= found.fun < problem.reference.energy + 1e-3
    assert found.fun < problem.hartree_fock_energy - 5e-3


def test_lih_has_92_parameters() -> None:
    problem = molecule("Li 0 0 0; H 0 0 1.5949")
    circuit = build_ansatz(UCCSD, problem).circuit
    assert circuit.n_parameters == 92
    assert np.all(circuit.excitation)
    np.testing.assert_array_equal(circuit.parameter, np.arange(92))


def test_adapt_grows_from_hartree_fock(h2: Problem, energy: Energy) -> None:
    ansatz = build_ansatz(ADAPT, h2)
    assert (len(ansatz.circuit), ansatz.circuit.n_parameters) == (0, 0)
    assert ansatz.initial_parameters(3).shape == (0,)
    assert ansatz.pool is not None
    assert all(rotation.parameter == FIXED for rotation in ansatz.pool)
    once = grow(ansatz.circuit, ansatz.pool[0])
    twice = grow(once, ansatz.pool[0])
    assert (once.n_parameters, twice.n_parameters, len(twice)) == (1, 2, 2)
    assert energy(h2.hamiltonian, once, np.zeros(1)) == pytest.approx(h2.hartree_fock_energy)


@pytest.mark.parametrize("spec", [UCCSD, ADAPT])
def test_excitations_need_a_molecule_and_room(spec: UccsdAnsatz | AdaptAnsatz) -> None:
    with pytest.raises(SpecError, match="needs a molecule"):
        build_ansatz(spec, cut(((0, 1, 1.0),)))
    with pytest.raises(SpecError, match="no electron can be excited"):
        build_ansatz(spec, molecule("He 0 0 0"))


def test_hardware_efficient(h2: Problem, simulate: Simulate) -> None:
    ansatz = build_ansatz(HardwareEfficientAnsatz(kind="hardware_efficient", layers=2), h2)
    assert ansatz.circuit.n_parameters == 2 * 4 * 3
    assert np.count_nonzero(ansatz.circuit.parameter == FIXED) == 2 * 3
    psi = simulate(ansatz.circuit, np.zeros(24))
    assert abs(psi[0b0011]) == pytest.approx(1.0)
    first = ansatz.initial_parameters(1)
    np.testing.assert_array_equal(first, ansatz.initial_parameters(1))
    assert not np.array_equal(first, ansatz.initial_parameters(2))
    assert 0 < np.abs(first).max() < 0.5
    cut_circuit = build_ansatz(
        HardwareEfficientAnsatz(kind="hardware_efficient"), cut(((0, 1, 1.0),))
    ).circuit
    assert cut_circuit.initial_state == 0


PRISM = (
    (0, 1, 1.0),
    (1, 2, 1.0),
    (0, 2, 1.0),
    (3, 4, 1.0),
    (4, 5, 1.0),
    (3, 5, 1.0),
    (0, 3, 1.0),
    (1, 4, 1.0),
    (2, 5, 1.0),
)
PETERSEN = tuple(
    (u, v, 1.0) for i in range(5) for u, v in ((i, (i + 1) % 5), (i, i + 5), (i + 5, (i + 2) % 5 + 5))
)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("edges", [PRISM, PETERSEN, None])
def test_fixed_angles_reach_their_ratio(
    energy: Energy, edges: tuple[tuple[int, int, float], ...] | None, layers: int
) -> None:
    generator = RandomRegular(name="random_regular", degree=3, nodes=12, seed=7)
    problem = cut(edges) if edges else build_problem(MaxCutSpec(kind="maxcut", generator=generator))
    ansatz = build_ansatz(QaoaAnsatz(kind="qaoa", layers=layers), problem)
    assert problem.reference is not None
    ratio = (
        energy(problem.hamiltonian, ansatz.circuit, ansatz.initial_parameters(0)) / problem.reference.energy
    )
    assert ratio >= {1: 0.6924, 2: 0.7559}[layers] - 1e-4


def test_one_layer_matches_the_closed_form(energy: Energy) -> None:
    """Triangle-free d-regular: <C_edge> = 1/2 + 1/2 sin 4b sin g cos^(d-1) g (arXiv:1706.02998)."""
    problem = cut(PETERSEN)
    circuit = build_ansatz(QaoaAnsatz(kind="qaoa"), problem).circuit
    gamma, beta = 0.41, 0.23
    edge = 0.5 + 0.5 * np.sin(4 * beta) * np.sin(gamma) * np.cos(gamma) ** 2
    assert energy(problem.hamiltonian, circuit, np.array([gamma, beta])) == pytest.approx(-15 * edge)


@pytest.mark.parametrize(
    "degree_edges", [((0, 1, 1.0), (1, 2, 1.0), (2, 3, 1.0), (3, 0, 1.0)), ((0, 1, 1.0),)]
)
def test_the_ramp_is_optimal_at_one_layer_of_regular_graphs(
    energy: Energy, degree_edges: tuple[tuple[int, int, float], ...]
) -> None:
    problem = cut(degree_edges)
    ansatz = build_ansatz(QaoaAnsatz(kind="qaoa"), problem)
    start = ansatz.initial_parameters(0)
    at = energy(problem.hamiltonian, ansatz.circuit, start)
    for step in 1e-2 * np.array([[1, 0], [-1, 0], [0, 1], [0, -1]]):
        assert at <= energy(problem.hamiltonian, ansatz.circuit, start + step) + 1e-12


def qubo_progress(energy: Energy, scale: float) -> list[float]:
    """Share of the way from the mean energy to the lowest at the start of 1, 4 and 8 layers."""
    terms = tuple((i, j, scale * ((7 * i + 3 * j) % 5 - 1.5)) for i in range(6) for j in range(i, 6))
    problem = build_problem(QuboSpec(kind="qubo", terms=terms))
    assert problem.reference is not None
    mean, lowest = problem.hamiltonian.constant, problem.reference.energy
    reached = []
    for layers in (1, 4, 8):
        ansatz = build_ansatz(QaoaAnsatz(kind="qaoa", layers=layers), problem)
        value = energy(problem.hamiltonian, ansatz.circuit, ansatz.initial_parameters(0))
        reached.append((value - mean) / (lowest - mean))
    return reached


def test_the_ramp_improves_with_layers(energy: Energy) -> None:
    reached = qubo_progress(energy, 1.0)
    assert reached == sorted(reached)
    assert reached[0] > 0.2
    assert reached[-1] > 0.6


@pytest.mark.parametrize("scale", [1e3, 1e-3])
def test_starts_do_not_depend_on_the_unit(energy: Energy, scale: float) -> None:
    assert qubo_progress(energy, scale) == pytest.approx(qubo_progress(energy, 1.0))


def test_qaoa_needs_a_diagonal_hamiltonian(h2: Problem) -> None:
    with pytest.raises(SpecError, match="not diagonal"):
        build_ansatz(QaoaAnsatz(kind="qaoa"), h2)
