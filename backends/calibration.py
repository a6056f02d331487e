"""A device's calibration at one moment, and whether it may be used."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

from shotwise.words import duration

STALE_AFTER_S = 24 * 3600
_CLOCK_SKEW_S = 300


@dataclass(frozen=True)
class Calibration:
    """Error rates of a device as of `taken_us`.

    Attributes:
        taken_us: microseconds since the epoch, UTC.
        readout_error: probability of a wrong bit, per physical qubit.
        one_qubit_error: average error of a one-qubit gate, per physical qubit.
        two_qubit_error: ((a, b), error) of the native two-qubit gate on every coupled pair, a < b.
        t1_s, t2_s: per physical qubit, None where unknown.
        one_qubit_s, two_qubit_s, readout_s: typical durations.
    """

    taken_us: int
    readout_error: tuple[float, ...]
    one_qubit_error: tuple[float, ...]
    two_qubit_error: tuple[tuple[tuple[int, int], float], ...]
    t1_s: tuple[float | None, ...] = ()
    t2_s: tuple[float | None, ...] = ()
    one_qubit_s: float = 5e-8
    two_qubit_s: float = 3e-7
    readout_s: float = 1e-6

    @property
    def n_qubits(self) -> int:
        return len(self.readout_error)

    @property
    def errors(self) -> tuple:
        """Everything but when: equal for snapshots that differ in nothing else."""
        return (self.readout_error, self.one_qubit_error, self.two_qubit_error)


def as_probability(error: float) -> float:
    """An error rate; 1 for a value that is no probability: what is not known to work is not chosen."""
    return error if math.isfinite(error) and 0.0 <= error <= 1.0 else 1.0


def rejection_reason(
    calibration: Calibration | None, now_us: int, *, stale_after_s: float = STALE_AFTER_S
) -> str | None:
    """Why a calibration must not be used, as a short clause; None where it may be."""
    if calibration is None:
        return "no calibration"
    age_s = (now_us - calibration.taken_us) / 1e6
    if age_s < -_CLOCK_SKEW_S:
        return f"calibration from {duration(-age_s)} in the future"
    if age_s > stale_after_s:
        return f"calibration {duration(age_s)} old, limit {duration(stale_after_s)}"
    return _flaw(*calibration.errors)


@lru_cache(maxsize=256)
def _flaw(
    readout: tuple[float, ...],
    one_qubit: tuple[float, ...],
    two_qubit: tuple[tuple[tuple[int, int], float], ...],
) -> str | None:
    """Why error rates cannot be meant; a fleet is asked the same before every batch."""
    errors = (*readout, *one_qubit, *(error for _, error in two_qubit))
    if any(not math.isfinite(error) or error < 0 for error in errors):
        return "calibration holds a value that is no probability"
    if any(error >= 1 for error in errors):
        return "calibration holds an error of 1"
    return None
