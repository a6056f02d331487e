"""What a molecule's symmetry forbids is found in its integrals, and leaving it out loses nothing."""

import numpy as np
import pytest

from backends.jax_device import JaxDevice
from problems import Problem, build_ansatz, build_problem
from problems.electronic import ElectronicHamiltonian
from problems.excitations import singles_and_doubles
from problems.spatial_symmetry import symmetry_allowed
from shotwise.errors import SpecError
from shotwise.spec import AdaptAnsatz, MoleculeSpec, UccsdAnsatz

ALL = UccsdAnsatz(kind="uccsd")
SYMMETRIC = UccsdAnsatz(kind="uccsd", symmetry="spatial")
MOLECULES = {
    "H2": ({"geometry": "H 0 0 0; H 0 0 0.7414"}, 3, 1),  # gerade and ungerade
    "HeH+": ({"geometry": "He 0 0 0; H 0 0 0.7742", "charge": 1}, 3, 3),  # both orbitals are sigma
    "H4 bent": ({"geometry": "H 0 0 0; H 0 0 1; H 0 0.2 2; H 0.1 0 3"}, 26, 26),
    "H4 chain": ({"geometry": "H 0 0 0; H 0 0 1; H 0 0 2; H 0 0 3"}, 26, 14),
    "OH": (
        {"geometry": "O 0 0 0; H 0 0 0.97", "spin": 1, "active_space": {"electrons": 5, "orbitals": 4}},
        None,
        None,
    ),
}


def molecule(name: str) -> Problem:
    return build_problem(MoleculeSpec.model_validate({"kind": "molecule", **MOLECULES[name][0]}))


def gradient(problem: Problem, parameters: np.ndarray) -> np.ndarray:
    circuit = build_ansatz(ALL, problem).circuit
    found = JaxDevice().expectation(
        circuit, problem.observable, circuit.angles(parameters[None, :]), gradient=True
    )
    assert found.gradients is not None
    return (found.gradients @ circuit.jacobian())[0]


@pytest.mark.parametrize("name", MOLECULES)
def test_what_is_left_out_has_no_gradient_wherever_the_rest_leads(name: str) -> None:
    problem = molecule(name)
    assert isinstance(problem.observable, ElectronicHamiltonian)
    assert problem.sector is not None
    pool = singles_and_doubles(problem.sector)
    kept = [each in symmetry_allowed(problem.observable, pool) for each in pool]
    if MOLECULES[name][1] is not None:
        assert (len(pool), sum(kept)) == MOLECULES[name][1:]
    point = np.where(kept, np.random.default_rng(0).normal(size=len(pool)), 0.0)
    slopes = np.abs(gradient(problem, point))
    assert np.max(slopes[~np.array(kept)], initial=0.0) < 1e-6
    assert np.max(slopes[kept]) > 1e-2


def test_a_start_of_amplitudes_keeps_those_that_are_allowed() -> None:
    problem = molecule("H4 chain")
    whole, kept = (
        build_ansatz(spec.model_copy(update={"start": "ccsd"}), problem) for spec in (ALL, SYMMETRIC)
    )
    assert len(kept.start) == 14
    np.testing.assert_allclose(np.sort(np.abs(kept.start))[-8:], np.sort(np.abs(whole.start))[-8:])
    assert np.sum(np.abs(whole.start) > 1e-6) == np.sum(np.abs(kept.start) > 1e-6)


def test_an_adaptive_pool_is_smaller() -> None:
    pools = [
        build_ansatz(AdaptAnsatz(kind="adapt", symmetry=kind), molecule("H4 chain")).pool
        for kind in ("none", "spatial")
    ]
    assert [len(pool or ()) for pool in pools] == [26, 14]


def test_where_nothing_is_allowed_it_says_so() -> None:
    """One alpha electron of a stretched H2+: the other orbital has another parity."""
    h2_plus = {"kind": "molecule", "geometry": "H 0 0 0; H 0 0 1", "charge": 1, "spin": 1}
    problem = build_problem(MoleculeSpec.model_validate(h2_plus))
    with pytest.raises(SpecError, match=r"ansatz\.symmetry"):
        build_ansatz(SYMMETRIC, problem)


def test_an_old_spec_is_the_same_spec() -> None:
    assert "symmetry" not in ALL.model_dump()
    assert SYMMETRIC.model_dump()["symmetry"] == "spatial"
