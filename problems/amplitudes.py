"""Where unitary coupled cluster may start: amplitudes of MP2 and CCSD, as angles of our excitations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from problems.circuit import Rotation
from problems.electronic import ElectronicHamiltonian
from problems.sector import Sector
from shotwise.errors import CannotRunError


def amplitude_angles(
    method: str, integrals: ElectronicHamiltonian, sector: Sector, excitations: Sequence[Rotation]
) -> np.ndarray:
    """Angles of excitations of the Hartree-Fock state that prepare a method's amplitudes to first order.

    A rotation by `angle` gives its determinant the weight s sin(angle/2) beside cos(angle/2) of the
    Hartree-Fock one, so an amplitude t (of a^dagger_a a^dagger_b a_j a_i, i < j, a < b) asks for
    angle = 2 arctan(t) times the signs of both. PySCF solves in the active space, on unrestricted amplitudes
    of the restricted orbitals, so closed and open shells are one case.

    Args:
        method: "mp2" or "ccsd".

    Raises:
        CannotRunError: CCSD does not converge.
    """
    singles, doubles = _solve(method, integrals, sector)
    occupied = (sector.electrons_alpha, sector.electrons_beta)
    reference = sector.hartree_fock_state
    return np.array(
        [
            2.0 * np.arctan(_amplitude(row, reference, singles, doubles, occupied))
            * (-1) ** (reference & row.z).bit_count()
            for row in excitations
        ]
    )  # fmt: skip


def _amplitude(
    row: Rotation,
    reference: int,
    singles: Sequence[np.ndarray],
    doubles: Sequence[np.ndarray],
    occupied: tuple[int, int],
) -> float:
    """The coefficient of |reference ^ row.x> to first order in the cluster operator."""
    qubits = [q for q in range(row.x.bit_length()) if row.x >> q & 1]
    source = [q for q in qubits if reference >> q & 1]
    target = [q for q in qubits if not reference >> q & 1]
    indices = [q // 2 for q in source] + [q // 2 - occupied[q % 2] for q in target]
    sign = _ladder_sign(reference, source, target)
    if len(source) == 1:
        return sign * float(singles[source[0] % 2][tuple(indices)])
    (i, j), (a, b) = source, target
    if i % 2 == j % 2:
        return sign * float(doubles[2 * (i % 2)][tuple(indices)])
    # mixed spins are kept as t[i alpha, j beta, a alpha, b beta]: each exchange of a pair costs a sign
    swapped_source, swapped_target = i % 2 == 1, a % 2 == 1
    i, j, a, b = indices
    i, j = (j, i) if swapped_source else (i, j)
    a, b = (b, a) if swapped_target else (a, b)
    return sign * (-1) ** (swapped_source + swapped_target) * float(doubles[1][i, j, a, b])


def _ladder_sign(state: int, source: Sequence[int], target: Sequence[int]) -> int:
    """Sign of a^dagger_a a^dagger_b a_j a_i |state>, source (i, j), target (a, b), under Jordan-Wigner."""
    sign = 1
    for q in (*source, *reversed(target)):
        sign *= (-1) ** (state & (1 << q) - 1).bit_count()
        state ^= 1 << q
    return sign


def _solve(
    method: str, integrals: ElectronicHamiltonian, sector: Sector
) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(singles alpha, beta), (doubles alpha alpha, alpha beta, beta beta) by PySCF on one thread."""
    from pyscf import cc, lib, mp

    with lib.with_omp_threads(1):
        field = _mean_field(integrals, sector)
        if method == "mp2":
            solver: Any = mp.UMP2(field)
            solver.verbose = 0
            solver.kernel()
            return _no_singles(integrals, sector), solver.t2
        solver = cc.UCCSD(field)
        solver.verbose, solver.conv_tol, solver.max_cycle = 0, 1e-9, 200
        solver.kernel()
    if not solver.converged:
        raise CannotRunError("ansatz.start", "ccsd", "CCSD does not converge here", "use mp2 or hartree_fock")
    return solver.t1, solver.t2


def _no_singles(integrals: ElectronicHamiltonian, sector: Sector) -> tuple[np.ndarray, np.ndarray]:
    m, alpha, beta = len(integrals.one_body), sector.electrons_alpha, sector.electrons_beta
    return np.zeros((alpha, m - alpha)), np.zeros((beta, m - beta))


def _mean_field(integrals: ElectronicHamiltonian, sector: Sector) -> Any:
    """The Hartree-Fock determinant of an active space as PySCF's unrestricted mean field."""
    from pyscf import ao2mo, gto, scf

    m = len(integrals.one_body)
    molecule = gto.M(verbose=0)
    molecule.nelectron = sector.electrons_alpha + sector.electrons_beta
    molecule.spin = sector.electrons_alpha - sector.electrons_beta
    molecule.incore_anyway = True
    field: Any = scf.UHF(molecule)
    field.chkfile = field._chkfile = None
    field.get_hcore = lambda *_: integrals.one_body
    field.get_ovlp = lambda *_: np.eye(m)
    field._eri = ao2mo.restore(8, integrals.two_body, m)
    orbital = np.arange(m)
    filled = (sector.electrons_alpha, sector.electrons_beta)
    field.mo_occ = np.array([np.where(orbital < electrons, 1.0, 0.0) for electrons in filled])
    field.mo_coeff = np.array([np.eye(m), np.eye(m)])
    density = field.make_rdm1()
    fock = field.get_fock(dm=density)
    field.mo_energy = np.array([np.diag(fock[spin]) for spin in (0, 1)])
    field.e_tot = field.energy_elec(density)[0] + integrals.core_energy
    field.converged = True
    return field
