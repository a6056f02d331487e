"""Excitations that a molecule's spatial symmetry allows, read off its integrals.

An excitation that changes an Abelian symmetry's irreducible representation has no gradient wherever the
allowed ones lead from the Hartree-Fock determinant, and stays at zero: leaving it out changes no energy and
spares what its derivative would cost (SymUCCSD, arXiv:2109.02110).

The symmetries are not asked for: a sign for each orbital is one if every integral that is not zero names an
even number of orbitals with -1. Such signs, as bits, are what is orthogonal over GF(2) to the integrals'
masks of orbitals (as in tapering, arXiv:1701.08213); so an excitation is allowed by all of them if and only
if its own mask is a sum of those.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from problems.circuit import Rotation
from problems.electronic import ElectronicHamiltonian

_INTEGRAL_MIN = 1e-7
"""Hartree; smaller ones are zeros that rounding has touched. A symmetry that they break is not found."""


def symmetry_allowed(
    integrals: ElectronicHamiltonian, excitations: Sequence[Rotation]
) -> tuple[Rotation, ...]:
    """Those of the excitations that no symmetry of the integrals forbids, in their order."""
    basis = _span(_masks(integrals))
    return tuple(each for each in excitations if _reduced(_orbitals(each.x), basis) == 0)


def _masks(integrals: ElectronicHamiltonian) -> Iterable[int]:
    """The orbitals that each integral names an odd number of times, as bits."""
    bits = 1 << np.arange(len(integrals.one_body))
    pairs = bits[:, None] ^ bits
    fours = pairs[:, :, None, None] ^ pairs
    for mask, values in ((pairs, integrals.one_body), (fours, integrals.two_body)):
        yield from np.unique(mask[np.abs(values) > _INTEGRAL_MIN]).tolist()


def _orbitals(qubits: int) -> int:
    """Orbital p holds qubits 2p and 2p + 1; where both are excited it counts twice, which is not at all."""
    mask = 0
    while qubits:
        mask ^= 1 << (qubits.bit_length() - 1) // 2
        qubits ^= 1 << qubits.bit_length() - 1
    return mask


def _span(masks: Iterable[int]) -> dict[int, int]:
    """A basis of the masks' span over GF(2), by leading bit."""
    basis: dict[int, int] = {}
    for mask in masks:
        rest = _reduced(mask, basis)
        if rest:
            basis[rest.bit_length()] = rest
    return basis


def _reduced(mask: int, basis: dict[int, int]) -> int:
    """What is left of a mask after the basis; 0 where it lies in the span."""
    for bit in range(mask.bit_length(), 0, -1):
        if mask >> bit - 1 & 1 and bit in basis:
            mask ^= basis[bit]
    return mask
