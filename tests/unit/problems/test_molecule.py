from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from problems.hartree_fock import canonical_orbitals
from problems.molecule import molecular_problem
from problems.problem import Problem
from problems.sector import determinants
from shotwise.errors import CannotRunError, SpecError
from shotwise.spec import MoleculeSpec
from shotwise.spec.problem import ActiveSpace

H2 = "H 0 0 0; H 0 0 0.7414"
LIH = "Li 0 0 0; H 0 0 1.5949"


def build(geometry: str, **fields: Any) -> Problem:
    return molecular_problem(MoleculeSpec(kind="molecule", geometry=geometry, **fields))


def pyscf_energies(geometry: str, space: tuple[int, int] | None, **fields: Any) -> tuple[float, float]:
    """Hartree-Fock and (CAS) FCI energies, by PySCF alone."""
    from pyscf import gto, mcscf, scf

    molecule = gto.M(atom=geometry, verbose=0, basis="sto-3g", **fields)
    field: Any = scf.ROHF(molecule).set(conv_tol=1e-12).run()
    electrons, orbitals = space or (molecule.nelectron, molecule.nao_nr())
    cas: Any = mcscf.CASCI(field, orbitals, electrons)
    cas.fcisolver.conv_tol = 1e-12
    return float(field.e_tot), float(cas.kernel()[0])


@pytest.mark.parametrize(
    ("geometry", "space", "fields"),
    [
        (H2, None, {}),
        (LIH, None, {}),
        (LIH, (2, 5), {}),
        ("He 0 0 0; H 0 0 0.774", None, {"charge": 1}),
        ("O 0 0 0; H 0 0 0.97", (5, 4), {"spin": 1}),
        ("N 0 0 0; H 0 0 1.04", (6, 5), {"spin": 2}),
        ("Li 0 0 0", None, {"spin": 1}),
        ("H 0 0 0; H 0 0 1; H 0 0 2", None, {"spin": 3}),
    ],
)
def test_energies_agree_with_pyscf(
    geometry: str, space: tuple[int, int] | None, fields: dict[str, int]
) -> None:
    active = ActiveSpace(electrons=space[0], orbitals=space[1]) if space else None
    problem = build(geometry, active_space=active, **fields)
    hartree_fock, fci = pyscf_energies(geometry, space, **fields)
    assert problem.sector is not None
    assert problem.reference is not None
    assert problem.hartree_fock_energy == pytest.approx(hartree_fock, abs=1e-9)
    determinant = np.array([problem.sector.hartree_fock_state])
    assert problem.hamiltonian.diagonal_at(determinant)[0] == pytest.approx(hartree_fock, abs=1e-9)
    assert problem.reference.energy == pytest.approx(fci, abs=1e-8)
    assert (problem.reference.method, problem.reference.exact, problem.unit) == ("FCI", True, "Ha")


def test_known_sizes() -> None:
    assert len(build(H2).hamiltonian) == 15
    lih = build(LIH)
    assert (lih.n_qubits, len(lih.hamiltonian)) == (12, 631)
    assert lih.sector is not None
    assert len(determinants(lih.sector)) == lih.sector.dimension == 225


def test_equal_specs_give_equal_bytes() -> None:
    first, second = (
        build("N 0 0 0; N 0 0 1.1", active_space=ActiveSpace(electrons=6, orbitals=6)) for _ in "12"
    )
    for name in ("x", "z", "coefficients"):
        assert getattr(first.hamiltonian, name).tobytes() == getattr(second.hamiltonian, name).tobytes()


def test_degenerate_orbitals_are_fixed_whatever_the_eigensolver_chose() -> None:
    rng = np.random.default_rng(3)
    orbitals = np.linalg.qr(rng.standard_normal((6, 4)))[0]
    energies, occupations = np.array([-1.0, -0.5, -0.5, 0.3]), np.array([2, 2, 2, 0])
    turn = np.linalg.qr(rng.standard_normal((2, 2)))[0]
    turned = np.concatenate([-orbitals[:, :1], orbitals[:, 1:3] @ turn, orbitals[:, 3:]], axis=1)
    fixed = canonical_orbitals(orbitals, energies, occupations)
    np.testing.assert_allclose(fixed, canonical_orbitals(turned, energies, occupations), atol=1e-12)
    np.testing.assert_allclose(fixed.T @ fixed, np.eye(4), atol=1e-12)


def test_leaves_no_files(monkeypatch: pytest.MonkeyPatch) -> None:
    from pyscf import lib

    with tempfile.TemporaryDirectory() as folder:
        monkeypatch.setattr(lib.param, "TMPDIR", folder)
        for fields in ({}, {"charge": 1, "spin": 1}):
            build(H2, **fields)
            assert list(Path(folder).iterdir()) == []


@pytest.mark.parametrize(
    ("geometry", "fields", "field", "complaint"),
    [
        (
            "H 0 0 0",
            {},
            "problem.spin",
            r"an odd number of electrons \(1\) cannot leave 0 .*; use 1, or",
        ),
        (H2, {"spin": 1}, "problem.spin", r"an even number of electrons \(2\) cannot leave 1 unpaired"),
        (H2, {"spin": 4}, "problem.spin", "2 electrons cannot leave 4 unpaired"),
        (H2, {"charge": 1, "spin": 3}, "problem.spin", "1 electron cannot leave 3 unpaired"),
        (H2, {"charge": 2}, "problem.charge", "no electrons"),
        (H2, {"charge": -4}, "problem.charge", "two electrons for each proton"),
        (H2, {"charge": -(10**30)}, "problem.charge", "two electrons for each proton"),
        (H2, {"charge": 10**30}, "problem.charge", "no electrons"),
        ("Li 0 0 0", {"charge": -9, "basis": "sto-3g"}, "problem.charge", "two electrons"),
        (H2, {"basis": "nope"}, "problem.basis", "unknown basis"),
        (LIH, {"active_space": (6, 6)}, "problem.active_space", "the molecule has 4"),
        (LIH, {"active_space": (3, 3)}, "problem.active_space", "whole orbitals"),
        (LIH, {"active_space": (4, 1)}, "problem.active_space", "more electrons than places"),
        (LIH, {"active_space": (2, 6)}, "problem.active_space", "the basis has 6 orbitals, 1 of them core"),
        (LIH, {"active_space": (2, 5), "spin": 4}, "problem.active_space", "unpaired"),
        ("H 0 0 0; H 0 0 1; He 0 3 0", {"spin": 4}, "problem.spin", "more electrons than places"),
    ],
)
def test_rejects(geometry: str, fields: dict[str, Any], field: str, complaint: str) -> None:
    if "active_space" in fields:
        electrons, orbitals = fields["active_space"]
        fields = {**fields, "active_space": ActiveSpace(electrons=electrons, orbitals=orbitals)}
    with pytest.raises(SpecError, match=complaint) as caught:
        build(geometry, **fields)
    assert caught.value.field == field


def test_too_many_orbitals_suggests_an_active_space() -> None:
    chain = "; ".join(f"H 0 0 {i}" for i in range(26))
    with pytest.raises(CannotRunError, match="choose an active space"):
        build(chain)


def test_too_many_basis_functions() -> None:
    chain = "; ".join(f"C 0 0 {2 * i}" for i in range(40))
    with pytest.raises(CannotRunError, match="200 basis functions"):
        build(chain, active_space=ActiveSpace(electrons=2, orbitals=2))


def test_a_field_that_does_not_converge_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    from pyscf.scf import hf
    from pyscf.soscf import newton_ah

    def stuck(*_: Any, **__: Any) -> tuple[Any, ...]:
        return False, 0.0, np.zeros(2), np.eye(2), np.array([2.0, 0.0])

    def singular(*_: Any, **__: Any) -> None:
        raise np.linalg.LinAlgError

    monkeypatch.setattr(hf, "kernel", singular)
    with pytest.raises(CannotRunError, match="does not converge"):
        build(H2)
    monkeypatch.setattr(hf, "kernel", stuck)
    monkeypatch.setattr(newton_ah, "kernel", stuck)
    with pytest.raises(CannotRunError, match="does not converge"):
        build(H2)


def test_a_spec_still_in_a_file_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="inline"):
        molecular_problem(MoleculeSpec(kind="molecule", file="water.xyz"))
