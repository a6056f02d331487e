"""Post-selection by the numbers of alpha and beta electrons, in the readings of every measurement basis.

An ansatz that conserves both numbers prepares a state in their sector; what is measured outside is noise.
The verified energy is Tr(P H rho) / Tr(P rho) with P the sector's projector (arXiv:1807.10050). Where the
basis is computational, P is read shot by shot, and dividing by the kept fraction is plain post-selection.
Where it is not, P is replaced by the projector on the parities that can be read beside the term: for a term
O, the products O S with the strings S = prod Z of alpha, of beta, and of all qubits that some basis measures;
a part of them still projects on what they span, down to O itself, which is right for a noiseless state too.

Everything stays linear in the counts but for one division, so readout inversion applies unchanged.

Limits: bases behind Clifford circuits are not supported; errors inside the sector stay; the ratio's own bias
is of the order of its variance over the kept fraction, and vanishes with the shots.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from measurement.grouping import Grouping
from problems.pauli import PauliSum, parity
from problems.problem import Sector

QUBITS_MAX = 12
"""Readings are tables over all basis states."""


@dataclass(frozen=True, eq=False)
class Readings:
    """What each basis says of an energy E = constant + (sum_b <energy_b>) / (sum_b <kept_b>).

    Attributes:
        energy, kept: for each basis, values of all basis states, shape (bases, 2**n); `kept` is None where
            the energy is no ratio.
        constant: needs no shots.
    """

    energy: np.ndarray
    kept: np.ndarray | None
    constant: float


def plain(grouping: Grouping, n_qubits: int) -> Readings:
    """Every group's own energies, unverified."""
    states = np.arange(1 << n_qubits, dtype=np.int64)
    return Readings(np.stack([g.values(states) for g in grouping.groups]), None, grouping.constant)


def verifiable(grouping: Grouping) -> bool:
    """Whether a basis is computational, so that the kept fraction can be read, and none is a Clifford's."""
    bases = grouping.bases
    return bool(np.any(bases.x == 0)) and not any(getattr(bases, "cliffords", ()))


def verified(grouping: Grouping, hamiltonian: PauliSum, sector: Sector) -> Readings:
    """Readings of the energy in the electrons' sector. Raises ValueError where not `verifiable`."""
    if not verifiable(grouping):
        raise ValueError("no basis reads the kept fraction")
    states = np.arange(1 << hamiltonian.n_qubits, dtype=np.int64)
    alpha = sum(1 << 2 * p for p in range(sector.orbitals))
    inside = (np.bitwise_count(states & alpha) == sector.electrons_alpha) & (
        np.bitwise_count(states & alpha << 1) == sector.electrons_beta
    )
    computational = int(np.flatnonzero(grouping.bases.x == 0)[0])
    energy = np.zeros((len(grouping), len(states)))
    kept = np.zeros_like(energy)
    kept[computational] = inside
    terms = hamiltonian.without_constant()
    energy[computational] = terms.diagonal_at(states) * inside
    strings = ((0, 0), (alpha, sector.electrons_alpha), (alpha << 1, sector.electrons_beta))
    strings += ((alpha | alpha << 1, sector.electrons_alpha + sector.electrons_beta),)
    for x, z, coefficient in zip(terms.x.tolist(), terms.z.tolist(), terms.coefficients, strict=True):
        if x:
            _read_projected(energy, grouping, x, z, float(coefficient), strings, states)
    return Readings(energy, kept, grouping.constant)


def _read_projected(
    energy: np.ndarray,
    grouping: Grouping,
    x: int,
    z: int,
    coefficient: float,
    strings: tuple[tuple[int, int], ...],
    states: np.ndarray,
) -> None:
    """Add a term, averaged over its products with a measurable group of symmetry strings, to the readings."""
    products = []
    for mask, electrons in strings:
        basis = _measuring(grouping, x, z ^ mask)
        # P(x, z) Z^mask = i^(|x & z| - |x & (z ^ mask)|) P(x, z ^ mask), real where the two commute
        turns = (x & z).bit_count() - (x & (z ^ mask)).bit_count()
        if basis is None or turns % 2:
            products.append(None)
            continue
        sign = (-1) ** (turns // 2 + electrons)
        products.append((basis, x | z ^ mask, sign))
    identity, with_alpha, with_beta, with_both = products
    if identity is None:
        raise ValueError("a term of the Hamiltonian is in no basis")
    if with_alpha and with_beta and with_both:
        chosen = [identity, with_alpha, with_beta, with_both]
    else:
        chosen = [identity, *[p for p in (with_alpha, with_beta, with_both) if p][:1]]
    for basis, support, sign in chosen:
        energy[basis] += coefficient * sign / len(chosen) * (1 - 2 * parity(states & support))


def _measuring(grouping: Grouping, x: int, z: int) -> int | None:
    """The first basis that reads P(x, z); qubits of the identity are measured in Z."""
    bases = grouping.bases
    letters_x, letters_z = bases.x, bases.z | ~bases.x
    on = x | z
    found = np.flatnonzero(((letters_x ^ x) & on == 0) & ((letters_z ^ z) & on == 0))
    return int(found[0]) if len(found) else None
