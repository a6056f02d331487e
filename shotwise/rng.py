"""Random numbers that depend on what they are for, never on when or where they are drawn.

Every stream is derived from the run's seed and a path (purpose, iteration, batch, ...), so that a resumed
run draws what the uninterrupted one would have drawn.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """What a stream is for; part of its path, so that no two uses share numbers."""

    INITIAL_PARAMETERS = 1
    OPTIMIZER = 2
    MEASUREMENT = 3
    FINAL_MEASUREMENT = 4
    CANDIDATES = 5
    GRADIENT = 6
    PILOT = 7
    READOUT_CALIBRATION = 8


def stream(seed: int, purpose: Purpose, *path: int) -> np.random.Generator:
    """The generator of `seed` at (purpose, *path): PCG64 over numpy's SeedSequence with that spawn key."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(purpose, *path))))
