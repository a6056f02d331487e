"""Zero-noise extrapolation: energies at several noise scales, weighed so that its leading orders cancel.

E(0) = sum_s w_s E(s) with sum_s w_s = 1 and, for degree d, sum_s w_s s^k = 0 for k = 1..d. As many scales as
unknowns is Richardson's extrapolation, more is a least-squares fit (arXiv:1612.02058; arXiv:2005.10921).
Shots shared as |w_s| give the least variance, (sum |w_s|)^2 times that of one energy with all the shots.

Limits: noise that grows exponentially is followed by a polynomial only as far as its first orders go; errors
that do not grow with the gates (readout) stay; coherent errors may extrapolate anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Extrapolation:
    """Weights of the energies at each scale; scales are odd, being numbers of copies of the ansatz."""

    name: str
    scales: tuple[int, ...]
    weights: tuple[float, ...]

    @property
    def shares(self) -> np.ndarray:
        """Of the shots, a scale each."""
        shares = np.abs(self.weights)
        return shares / shares.sum()

    def at_zero(self, energies: np.ndarray) -> np.ndarray:
        """Extrapolate energies of shape (scales, ...)."""
        return np.tensordot(np.array(self.weights), energies, axes=1)


def polynomial(scales: tuple[int, ...], degree: int) -> Extrapolation:
    """The least-squares polynomial's value at zero; Richardson where degree + 1 scales are given."""
    powers = np.vander(np.array(scales, dtype=np.float64), degree + 1, increasing=True)
    weights = np.linalg.pinv(powers)[0]
    name = "richardson" if len(scales) == degree + 1 else f"degree {degree}"
    return Extrapolation(f"{name} {','.join(map(str, scales))}", scales, tuple(float(w) for w in weights))


LINEAR = polynomial((1, 3, 5), 1)
RICHARDSON_2 = polynomial((1, 3), 1)
RICHARDSON_3 = polynomial((1, 3, 5), 2)
NONE = Extrapolation("none", (1,), (1.0,))

EXTRAPOLATIONS = {e.name: e for e in (NONE, RICHARDSON_2, LINEAR, RICHARDSON_3)}
"""Those that a plan may ask for, by name."""
