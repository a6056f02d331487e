"""From a molecule's spec to the qubit Hamiltonian of its active space."""

from __future__ import annotations

from problems.basis_set import load_basis
from problems.geometry import parse_geometry
from problems.hartree_fock import active_hamiltonian, make_molecule, solve
from problems.problem import Problem
from problems.references import full_configuration_interaction
from problems.sector import Sector
from problems.spin import annotated_with_spin
from shotwise.errors import CannotRunError, SpecError
from shotwise.spec import MoleculeSpec
from shotwise.words import quantity

ORBITALS_MAX = 24
"""48 qubits: the Hamiltonian takes seconds; no engine here reaches further."""

_ACTIVE = "problem.active_space"


def molecular_problem(spec: MoleculeSpec) -> Problem:
    """Restricted Hartree-Fock, active space, Jordan-Wigner, and the exact ground state of the sector.

    Spatial orbital p of the active space holds qubits 2p (alpha) and 2p + 1 (beta); energies are in hartree
    and include nuclei and core. `spec.spin` is the number of unpaired electrons, N_alpha - N_beta.

    Raises:
        SpecError: geometry, basis, charge, spin or active space cannot be meant.
        CannotRunError: too large, or Hartree-Fock does not converge.
    """
    if spec.geometry is None:
        raise ValueError("inline the spec first: its geometry is still in a file")
    geometry = parse_geometry(spec.geometry, spec.units)
    electrons = _electrons(geometry.nuclear_charge, spec)
    basis = load_basis(spec.basis, geometry.symbols)
    molecule = make_molecule(geometry, basis, spec.charge, spec.spin)
    sector = _sector(electrons, molecule.nao_nr(), spec)
    orbitals = solve(molecule)
    core = (electrons - sector.electrons_alpha - sector.electrons_beta) // 2
    if core + sector.orbitals > orbitals.coefficients.shape[1]:
        raise CannotRunError(
            "problem.basis",
            f"{orbitals.coefficients.shape[1]} independent orbitals",
            "the basis is nearly linearly dependent",
            "use a smaller basis, or fewer active orbitals",
        )
    hamiltonian = active_hamiltonian(molecule, orbitals, core, sector.orbitals)
    return Problem(
        kind=spec.kind,
        observable=hamiltonian,
        unit="Ha",
        reference=annotated_with_spin(full_configuration_interaction(hamiltonian, sector), spec.spin),
        sector=sector,
        hartree_fock_energy=orbitals.energy,
    )


def _electrons(nuclear_charge: int, spec: MoleculeSpec) -> int:
    electrons = nuclear_charge - spec.charge
    if electrons < 1:
        raise SpecError(
            "problem.charge", spec.charge, "no electrons left", f"use at most {nuclear_charge - 1}"
        )
    if electrons > 2 * nuclear_charge:
        raise SpecError(
            "problem.charge",
            spec.charge,
            "more than two electrons for each proton",
            f"use at least {-nuclear_charge}",
        )
    if spec.spin > electrons:
        problem = f"{quantity(electrons, 'electron')} cannot leave {spec.spin} unpaired"
        raise SpecError("problem.spin", spec.spin, problem, _possible_spins(electrons))
    if (electrons - spec.spin) % 2:
        problem = f"{_parity(electrons)} number of electrons ({electrons}) cannot leave {spec.spin} unpaired"
        raise SpecError("problem.spin", spec.spin, problem, _possible_spins(electrons))
    return electrons


def _parity(count: int) -> str:
    return "an odd" if count % 2 else "an even"


def _possible_spins(electrons: int) -> str:
    spins = "1" if electrons == 1 else f"{_parity(electrons)} number up to {electrons}"
    return f"use {spins}, or change the charge"


def _sector(electrons: int, functions: int, spec: MoleculeSpec) -> Sector:
    """The electrons of the active space; without one, of all orbitals."""
    space = spec.active_space
    active, orbitals = (space.electrons, space.orbitals) if space else (electrons, functions)
    alpha, beta = (active + spec.spin) // 2, (active - spec.spin) // 2
    if space:
        _check_active_space(electrons, functions, spec.spin, active, orbitals)
    if alpha > orbitals:
        raise SpecError(
            _ACTIVE if space else "problem.spin",
            f"{quantity(active, 'electron')}, {alpha} of them alpha, in {quantity(orbitals, 'orbital')}",
            "more electrons than places",
            "use more orbitals, fewer electrons or a lower spin",
        )
    if orbitals > ORBITALS_MAX:
        raise CannotRunError(
            _ACTIVE,
            f"{orbitals} spatial orbitals, {2 * orbitals} qubits",
            f"more than {ORBITALS_MAX} orbitals",
            "choose an active space, such as {electrons: 4, orbitals: 6}",
        )
    return Sector(orbitals, alpha, beta)


def _check_active_space(electrons: int, functions: int, spin: int, active: int, orbitals: int) -> None:
    if active > electrons:
        raise SpecError(
            _ACTIVE, quantity(active, "electron"), f"the molecule has {electrons}", f"use at most {electrons}"
        )
    if (electrons - active) % 2:
        raise SpecError(
            _ACTIVE,
            quantity(active, "electron"),
            f"an odd number of core electrons ({electrons - active}) does not fill whole orbitals",
            f"use {_parity(electrons)} number of electrons",
        )
    if spin > active:
        raise SpecError(
            _ACTIVE, quantity(active, "electron"), f"{spin} must be unpaired", f"use at least {spin}"
        )
    core = (electrons - active) // 2
    if core + orbitals > functions:
        raise SpecError(
            _ACTIVE,
            quantity(orbitals, "orbital"),
            f"the basis has {quantity(functions, 'orbital')}, {core} of them core",
            f"use at most {functions - core}",
        )
