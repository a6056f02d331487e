"""Spin-conserving singles and doubles from the Hartree-Fock determinant, one rotation each."""

from __future__ import annotations

from itertools import combinations, product

from problems.circuit import Rotation
from problems.sector import Sector


def singles_and_doubles(sector: Sector) -> tuple[Rotation, ...]:
    """Every spin-conserving double, then every single, of a closed- or open-shell determinant.

    Doubles i j -> a b run over occupied pairs i < j, then virtual pairs a < b; singles i -> a over i, then
    a; each in ascending order of qubits. Doubles come first because they carry the correlation: from the
    Hartree-Fock determinant, singles alone have no gradient (Brillouin).

    A positive angle moves amplitude out of the Hartree-Fock determinant as defined in `problems.circuit`.
    The rotations name no parameter.
    """
    reference = sector.hartree_fock_state
    qubits = range(2 * sector.orbitals)
    occupied = [q for q in qubits if reference >> q & 1]
    virtual = [q for q in qubits if not reference >> q & 1]
    pairs = product(combinations(occupied, 2), combinations(virtual, 2))
    doubles = [excitation(source, target) for source, target in pairs if _spin(source) == _spin(target)]
    singles = [excitation((i,), (a,)) for i, a in product(occupied, virtual) if i % 2 == a % 2]
    return (*doubles, *singles)


def generalized_singles_and_paired_doubles(sector: Sector) -> tuple[Rotation, ...]:
    """Every pair of orbitals, occupied or not: both electrons at once, then one of either spin.

    Paired doubles p p -> q q and singles p -> q run over orbitals p < q, alpha before beta, in ascending
    order; all of arXiv:1810.02327 but for the order. The rotations name no parameter.
    """
    pairs = list(combinations(range(sector.orbitals), 2))
    doubles = [excitation((2 * p, 2 * p + 1), (2 * q, 2 * q + 1)) for p, q in pairs]
    singles = [excitation((2 * p + spin,), (2 * q + spin,)) for p, q in pairs for spin in (0, 1)]
    return (*doubles, *singles)


def excitation(source: tuple[int, ...], target: tuple[int, ...]) -> Rotation:
    """exp(angle/2 (T - T^dagger)), T moving electrons from source to target qubits, up to the angle's sign.

    The Jordan-Wigner string covers the qubits between the 1st and 2nd, and between the 3rd and 4th, of those
    excited: elsewhere the strings of the ladder operators cancel in pairs (arXiv:1805.04340).
    """
    excited = sum(1 << q for q in (*source, *target))
    string = 0
    for q in (*source, *target):
        string ^= (1 << q) - 1
    return Rotation(x=excited, z=string & ~excited, source=sum(1 << q for q in source))


def _spin(qubits: tuple[int, ...]) -> int:
    """Number of beta electrons: odd qubits."""
    return sum(q % 2 for q in qubits)
