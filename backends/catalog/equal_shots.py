"""How many shots every circuit gets where all circuits of a job must have the same number.

Measuring a row of a plan takes a circuit, or the same circuit several times. Few shots a circuit fit the
rows closely and take many circuits, so more jobs and their fees; many take few circuits and are rounded up
far. The least of both together is taken.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from backends.catalog.description import DeviceDescription
from backends.catalog.fees import SHOTS_OF_A_FEE_MAX, fees_of

_DIVISORS_MAX = 1_000
"""The largest row is looked at as 1 to this many circuits."""
_SIZES_MAX = 256
"""So many of the rows' own numbers of shots are looked at."""


class Cut(NamedTuple):
    """How rows become circuits of jobs: shots of a circuit, and circuits of a job, at most."""

    shots: int
    circuits: int


def equal_cut(shots: np.ndarray, device: DeviceDescription) -> Cut:
    """The equal shots of every circuit with which rows of these `shots` cost least: fees and rounding up.

    Where shots are free, the fewest jobs are the best.

    Args:
        shots: of the rows, at least one of them above 0.
    """
    fees = fees_of(device)
    a_job = SHOTS_OF_A_FEE_MAX if device.price.is_free else fees.shots_a_job
    sizes, rows = np.unique(shots[shots > 0], return_counts=True)
    job_shots = device.job_shots_max or device.shots_max * device.circuits_max
    candidates = _candidates(sizes, min(device.shots_max, job_shots))
    circuits = (-(-sizes[:, None] // candidates) * rows[:, None]).sum(axis=0)
    circuits_a_job = np.minimum(device.circuits_max, job_shots // candidates)
    jobs = -(-circuits // circuits_a_job)
    best = np.argmin(jobs * a_job + circuits * (candidates + fees.shots_a_circuit))
    return Cut(int(candidates[best]), int(circuits_a_job[best]))


def _candidates(sizes: np.ndarray, most: int) -> np.ndarray:
    """Shots of a circuit worth a look, descending, so that of equals the fewest circuits are taken."""
    divided = -(-sizes[-1] // np.arange(1, _DIVISORS_MAX + 1))
    own = sizes[np.linspace(0, len(sizes) - 1, min(len(sizes), _SIZES_MAX)).astype(np.int64)]
    return np.unique(np.minimum(np.concatenate([divided, own]), most))[::-1]
