"""The total spin of a ground state, which its sector does not fix: only its projection."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from problems.problem import GroundSpace, Reference
from problems.sector import ALPHA, BETA

_TOLERANCE = 1e-3
"""In S: by how much convergence may blur it."""


def annotated_with_spin(reference: Reference | None, unpaired: int) -> Reference | None:
    """A reference that says so where its state has more spin than the electrons' projection asks for: the
    lowest state of a sector may be a component of a triplet, as O2's is."""
    if reference is None or reference.ground is None:
        return reference
    squared = spin_squared(reference.ground, unpaired)
    spin = (math.sqrt(1.0 + 4.0 * squared) - 1.0) / 2.0
    if abs(spin - unpaired / 2.0) < _TOLERANCE:
        return reference
    return replace(reference, method=f"{reference.method}, of S = {spin:.3g}")


def spin_squared(ground: GroundSpace, unpaired: int) -> float:
    """<S^2> of a ground space of one determinant sector, in units of hbar^2; the mean over its states.

    S^2 = S_z (S_z + 1) + S_- S_+, and <S_- S_+> is the norm of S_+ psi, S_+ raising each beta electron whose
    orbital has no alpha one; qubits 2p and 2p + 1 are neighbours, so no sign arises.

    Args:
        unpaired: alpha less beta electrons, 2 S_z.
    """
    amplitudes = np.eye(len(ground.support)) if ground.amplitudes is None else ground.amplitudes
    raised: dict[int, np.ndarray] = {}
    for at, state in enumerate(ground.support.tolist()):
        lonely = (state & BETA) >> 1 & ~state & ALPHA
        while lonely:
            alpha = lonely & -lonely
            flipped = state ^ (alpha | alpha << 1)
            raised[flipped] = raised.get(flipped, 0.0) + amplitudes[:, at]
            lonely ^= alpha
    norm = float(sum(np.sum(column**2) for column in raised.values())) / len(amplitudes)
    return unpaired / 2 * (unpaired / 2 + 1) + norm
