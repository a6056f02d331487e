"""Published and cross-checked ground energies."""

from __future__ import annotations

import math
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from problems.build import build_problem
from problems.references import ground_state
from shotwise.spec import MoleculeSpec, load_spec

HERE = Path(__file__).parent
MOLECULES: dict[str, dict[str, Any]] = tomllib.loads((HERE / "energies.toml").read_text())


@pytest.mark.parametrize("name", MOLECULES)
def test_molecules(name: str) -> None:
    fields = dict(MOLECULES[name])
    expected = fields.pop("energy")
    problem = build_problem(MoleculeSpec.model_validate({"kind": "molecule", **fields}))
    assert problem.reference is not None
    assert problem.reference.energy == pytest.approx(expected, abs=1e-7)
    assert problem.hartree_fock_energy is not None
    assert problem.hartree_fock_energy > expected


def test_heh_plus_lies_above_other_electron_numbers() -> None:
    fields = {k: v for k, v in MOLECULES["heh_plus"].items() if k != "energy"}
    problem = build_problem(MoleculeSpec.model_validate({"kind": "molecule", **fields}))
    anywhere = ground_state(problem.hamiltonian)
    assert anywhere is not None
    assert problem.reference is not None
    assert anywhere.energy == pytest.approx(-3.0156, abs=1e-4)
    assert problem.reference.energy == pytest.approx(-2.8514, abs=1e-4)


def test_critical_ising_chain() -> None:
    spec = load_spec(HERE.parents[1] / "examples" / "pauli_file.yaml")
    problem = build_problem(spec.problem)
    assert problem.reference is not None
    assert problem.reference.energy == pytest.approx(1 - 1 / math.sin(math.pi / 26), abs=1e-10)


def test_first_order_uccsd_of_the_h4_chain_is_0_074_millihartree_above_fci() -> None:
    """The optimum depends on the order of excitations; ours is doubles, then singles."""
    from scipy.optimize import minimize

    from problems.ansatz import build_ansatz
    from problems.references import determinants, restricted_matrix
    from shotwise.spec import UccsdAnsatz

    fields = {k: v for k, v in MOLECULES["h4_chain"].items() if k != "energy"}
    problem = build_problem(MoleculeSpec.model_validate({"kind": "molecule", **fields}))
    assert problem.sector is not None
    states = determinants(problem.sector)
    matrix = restricted_matrix(problem.hamiltonian, states)
    assert matrix is not None
    ansatz = build_ansatz(UccsdAnsatz(kind="uccsd"), problem)
    generators = []
    for row in ansatz.circuit.rotations():
        assert row.source is not None
        k = states[(states & row.x) == row.source]
        sign = 1.0 - 2.0 * (np.bitwise_count(k & row.z) & 1)
        down, up = np.searchsorted(states, k), np.searchsorted(states, k ^ row.x)
        generators.append((down, up, sign))

    def energy(parameters: np.ndarray) -> float:
        psi = (states == ansatz.circuit.initial_state).astype(float)
        for (down, up, sign), angle in zip(generators, parameters, strict=True):
            c, s = np.cos(angle / 2), np.sin(angle / 2) * sign
            psi[down], psi[up] = c * psi[down] - s * psi[up], c * psi[up] + s * psi[down]
        return float(psi @ (matrix @ psi))

    found = minimize(energy, ansatz.initial_parameters(0), options={"gtol": 1e-6})
    assert problem.reference is not None
    assert 1e3 * (found.fun - problem.reference.energy) == pytest.approx(0.074, abs=0.02)
