"""Where parameters start: tree angles, interpolation, warm starts, amplitudes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from problems.ansatz import build_ansatz
from problems.bond import with_bond_length
from problems.build import build_problem
from problems.circuit import Circuit
from problems.pauli import PauliSum
from problems.problem import Problem
from problems.qaoa import qaoa_circuit
from problems.tree_angles import cut_fraction, interpolate, optimise, tree_angles
from shotwise.errors import SpecError
from shotwise.spec import MaxCutSpec, MoleculeSpec, QaoaAnsatz, RandomRegular, UccsdAnsatz, WarmStart

Energy = Callable[[PauliSum, Circuit, np.ndarray], float]
Simulate = Callable[[Circuit, np.ndarray], np.ndarray]


@pytest.fixture(scope="module")
def cut() -> Problem:
    generator = RandomRegular(name="random_regular", degree=3, nodes=10, seed=4)
    return build_problem(MaxCutSpec(kind="maxcut", generator=generator))


@pytest.mark.parametrize(("layers", "fraction"), [(2, 0.7559), (3, 0.7924)])
def test_the_table_reaches_the_published_fractions(layers: int, fraction: float) -> None:
    """arXiv:2107.00677, table 1."""
    angles = tree_angles(3, layers)
    assert angles is not None
    assert cut_fraction(angles, 3) == pytest.approx(fraction, abs=1e-4)


def test_one_layer_on_a_tree_is_the_closed_form() -> None:
    """<C_edge> = 1/2 + 1/2 sin 4b sin g cos^(d-1) g (arXiv:1706.02998)."""
    for degree, gamma, beta in ((3, 0.4, 0.2), (5, -0.3, 0.7)):
        edge = 0.5 + 0.5 * np.sin(4 * beta) * np.sin(gamma) * np.cos(gamma) ** (degree - 1)
        assert cut_fraction(np.array([gamma, beta]), degree) == pytest.approx(edge)


def test_the_table_is_what_its_script_computes() -> None:
    table = tree_angles(4, 1)
    assert table is not None
    assert optimise(4, table + 0.05) == pytest.approx(table, abs=1e-4)


def test_interpolation_follows_its_formula() -> None:
    angles = np.array([1.0, 2.0, 5.0, 3.0])
    assert interpolate(angles, 3) == pytest.approx([1.0, 1.5, 2.0, 5.0, 4.0, 3.0])
    assert interpolate(angles, 2) == pytest.approx(angles)


def test_starts_by_name(cut: Problem, energy: Energy) -> None:
    def start(name: str, layers: int) -> np.ndarray:
        return build_ansatz(QaoaAnsatz(kind="qaoa", layers=layers, start=name), cut).initial_parameters(0)

    np.testing.assert_array_equal(start("auto", 3), start("fixed", 3))
    circuit = build_ansatz(QaoaAnsatz(kind="qaoa", layers=3), cut).circuit
    fixed, ramp = (energy(cut.hamiltonian, circuit, start(name, 3)) for name in ("fixed", "ramp"))
    assert fixed < ramp
    weighted = build_problem(MaxCutSpec(kind="maxcut", edges=((0, 1, 1.0), (1, 2, 2.0))))
    with pytest.raises(SpecError, match=r"ansatz\.start"):
        build_ansatz(QaoaAnsatz(kind="qaoa", start="fixed"), weighted)


def test_given_parameters_are_the_start(cut: Problem) -> None:
    ansatz = build_ansatz(QaoaAnsatz(kind="qaoa", layers=1, parameters=(0.25, 0.5)), cut)
    assert ansatz.initial_parameters(3).tolist() == [0.25, 0.5]
    with pytest.raises(SpecError, match=r"ansatz\.parameters"):
        build_ansatz(QaoaAnsatz(kind="qaoa", layers=2, parameters=(0.25, 0.5)), cut)


def test_a_warm_start_keeps_its_state_and_unbiased_is_ordinary(cut: Problem, simulate: Simulate) -> None:
    bias = np.linspace(0.1, 0.9, 10)
    states = np.arange(1 << 10)
    bits = states[:, None] >> np.arange(10) & 1
    wanted = np.where(bits == 1, bias, 1 - bias).prod(axis=1)
    circuit = qaoa_circuit(cut.hamiltonian, 1, bias)
    kept = np.abs(simulate(circuit, np.array([0.0, 0.7]))) ** 2  # gamma = 0: the mixer alone
    np.testing.assert_allclose(kept, wanted, atol=1e-12)
    angles = np.array([0.4, 0.3, 0.6, 0.2])
    plain = np.abs(simulate(qaoa_circuit(cut.hamiltonian, 2), angles)) ** 2
    unbiased = np.abs(simulate(qaoa_circuit(cut.hamiltonian, 2, np.full(10, 0.5)), angles)) ** 2
    np.testing.assert_allclose(unbiased, plain, atol=1e-12)


def test_a_warm_start_begins_near_the_relaxed_solution(cut: Problem, energy: Energy) -> None:
    spec = QaoaAnsatz(kind="qaoa", layers=1, warm_start=WarmStart(epsilon=0.1))
    warm = build_ansatz(spec, cut)
    assert cut.reference is not None
    assert energy(cut.hamiltonian, warm.circuit, np.zeros(2)) < 0.7 * cut.reference.energy


MOLECULES: dict[str, dict[str, Any]] = {
    "h2": {"geometry": "H 0 0 0; H 0 0 0.7414"},
    "h4": {"geometry": "H 0 0 0; H 0 0 1; H 0 0 2; H 0 0 3"},
    "water, active": {
        "geometry": "O 0 0 0.1173; H 0 0.7572 -0.4692; H 0 -0.7572 -0.4692",
        "active_space": {"electrons": 4, "orbitals": 4},
    },
    "open shell": {"geometry": "H 0 0 0; H 0 0 0.9; H 0 0 1.9", "spin": 1},
}


@pytest.mark.parametrize("name", MOLECULES)
def test_amplitudes_start_well_below_hartree_fock(name: str, energy: Energy) -> None:
    problem = build_problem(MoleculeSpec.model_validate({"kind": "molecule", **MOLECULES[name]}))
    assert problem.reference is not None
    above = {}
    for start in ("hartree_fock", "mp2", "ccsd"):
        ansatz = build_ansatz(UccsdAnsatz(kind="uccsd", start=start), problem)
        above[start] = energy(problem.hamiltonian, ansatz.circuit, ansatz.start) - problem.reference.energy
    assert above["mp2"] < 0.4 * above["hartree_fock"]
    assert above["ccsd"] < 0.01 * above["hartree_fock"]
    if name == "h2":
        assert above["ccsd"] < 1e-8, "two electrons: coupled cluster is exact"


def test_a_stretched_bond_moves_its_second_atom_alone() -> None:
    water = MoleculeSpec(kind="molecule", geometry="O 0 0 0; H 0 0.6 0.8; H 0 -0.6 0.8")
    moved = with_bond_length(water, (0, 1), 2.0)
    assert moved.geometry == "O 0 0 0; H 0 1.2 1.6; H 0 -0.6 0.8"
    with pytest.raises(SpecError, match=r"scan\.bond"):
        with_bond_length(water, (0, 3), 1.0)
