"""Restricted Hartree-Fock orbitals by PySCF, and the integrals of an active space of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from problems.electronic import ElectronicHamiltonian
from problems.geometry import Geometry
from shotwise.errors import CannotRunError

BASIS_FUNCTIONS_MAX = 150
"""Their two-electron integrals take 0.5 GB."""

_DEGENERATE_HA = 1e-6
_SAME_MAGNITUDE = 1e-6


@dataclass(frozen=True, eq=False)
class Orbitals:
    """Orthonormal molecular orbitals: doubly occupied first, then singly, then empty, each by energy.

    Attributes:
        coefficients: float64, shape (basis functions, orbitals).
        energy: of the Hartree-Fock determinant, nuclear repulsion included, in hartree.
    """

    coefficients: np.ndarray
    energy: float


def make_molecule(geometry: Geometry, basis: dict[str, list], charge: int, spin: int) -> Any:
    """A PySCF molecule, built from lists alone and silent.

    Raises:
        CannotRunError: more than `BASIS_FUNCTIONS_MAX` basis functions.
    """
    from pyscf import gto

    molecule = gto.Mole()
    molecule.build(
        dump_input=False,
        parse_arg=False,
        verbose=0,
        atom=list(zip(geometry.symbols, geometry.coordinates_bohr.tolist(), strict=True)),
        unit="Bohr",
        basis=basis,
        charge=charge,
        spin=spin,
    )
    functions = molecule.nao_nr()
    if functions > BASIS_FUNCTIONS_MAX:
        raise CannotRunError(
            "problem.basis",
            f"{functions} basis functions",
            f"more than {BASIS_FUNCTIONS_MAX} basis functions",
            "use a smaller basis or fewer atoms",
        )
    return molecule


def solve(molecule: Any) -> Orbitals:
    """Self-consistent restricted (open-shell) Hartree-Fock on one thread.

    Signs, and directions within degenerate levels, are fixed so that equal inputs give equal integrals.

    Raises:
        CannotRunError: not converged, by DIIS or by the second-order solver after it, or a basis that is
            numerically singular.
    """
    from pyscf import lib, scf

    with lib.with_omp_threads(1):
        field: Any = scf.ROHF(molecule) if molecule.spin else scf.RHF(molecule)
        # PySCF makes a checkpoint file at once, and removes it with this attribute
        field.chkfile = None
        field._chkfile = None
        field.conv_tol, field.conv_tol_grad, field.max_cycle = 1e-12, 1e-7, 100
        try:
            field.kernel()
            if not field.converged:
                density = field.make_rdm1()
                field = field.newton()
                field.chkfile, field.max_cycle = None, 100
                field.kernel(dm0=density)
        except np.linalg.LinAlgError:
            field.converged = False
    if not field.converged:
        raise CannotRunError(
            "problem.geometry",
            f"{molecule.natm} atoms",
            "Hartree-Fock does not converge",
            "change the geometry, spin or basis",
        )
    order = np.lexsort((np.asarray(field.mo_energy), -np.asarray(field.mo_occ)))
    coefficients = canonical_orbitals(
        np.asarray(field.mo_coeff)[:, order],
        np.asarray(field.mo_energy)[order],
        np.asarray(field.mo_occ)[order],
    )
    return Orbitals(coefficients, float(field.e_tot))


def canonical_orbitals(coefficients: np.ndarray, energies: np.ndarray, occupations: np.ndarray) -> np.ndarray:
    """Fix what an eigensolver leaves open: signs, and rotations within degenerate levels.

    Within a level each orbital in turn takes the whole weight of the basis function that is strongest
    there, with a positive coefficient; pi orbitals of a linear molecule come out along the axes.

    Args:
        coefficients: shape (basis functions, orbitals); degenerate orbitals stand next to each other.
        energies, occupations: shape (orbitals,).
    """
    new_level = (np.diff(energies) > _DEGENERATE_HA) | (np.diff(occupations) != 0)
    levels = np.split(np.arange(len(energies)), np.flatnonzero(new_level) + 1)
    return np.concatenate([_directed(coefficients[:, level]) for level in levels], axis=1)


def _directed(level: np.ndarray) -> np.ndarray:
    done = []
    while level.shape[1]:
        weights = np.linalg.norm(level, axis=1)
        # the first of those that are equal by symmetry, whatever the last digits say
        strongest = int(np.argmax(weights > weights.max() - _SAME_MAGNITUDE))
        direction = level[strongest] / weights[strongest]
        done.append(level @ direction)
        # an orthonormal basis of the rest: the null space of the direction
        rest = np.linalg.svd(direction[None, :])[2][1:]
        level = level @ rest.T
    return np.stack(done, axis=1)


def active_hamiltonian(molecule: Any, orbitals: Orbitals, core: int, active: int) -> ElectronicHamiltonian:
    """Fold `core` doubly occupied orbitals into the energy and one-body part of the next `active` ones.

    The core acts through its inactive Fock matrix: Helgaker, Jorgensen, Olsen, Molecular
    Electronic-Structure Theory (2000), chapter 10.
    """
    from pyscf import ao2mo, lib, scf

    inner = orbitals.coefficients[:, :core]
    outer = np.ascontiguousarray(orbitals.coefficients[:, core : core + active])
    with lib.with_omp_threads(1):
        bare = scf.hf.get_hcore(molecule)
        density = 2.0 * inner @ inner.T
        coulomb, exchange = map(np.asarray, scf.hf.get_jk(molecule, density))
        two_body = ao2mo.restore(1, np.asarray(ao2mo.kernel(molecule, outer)), active)
    mean_field = coulomb - 0.5 * exchange
    core_energy = molecule.energy_nuc() + np.sum(density * (bare + 0.5 * mean_field))
    return ElectronicHamiltonian(float(core_energy), outer.T @ (bare + mean_field) @ outer, two_body)
