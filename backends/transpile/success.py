"""How wrong a transpiled circuit will come out, predicted from a calibration snapshot. Pure.

The estimate is the usual product of success probabilities (arXiv:1901.11054; arXiv:2209.15512 scores
layouts with it):

    F = prod_gates (1 - e_g) * prod_measured (1 - r_q) * prod_used f(idle_q),
    f(t) = 1/2 + exp(-t/T1)/6 + exp(-t/T2)/3,

f being the average fidelity of t seconds of relaxation. Limits: errors are taken as independent and as
depolarizing, so crosstalk, leakage, coherent errors and drift since the snapshot are not in it; gates outside
the light cone of a measured term still count; asymmetric readout counts by its mean. Use it to rank devices
and layouts, not as a value: tests hold it to rank correlation with noisy simulation.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from backends.calibration import Calibration, as_probability
from problems.pauli import PauliSum, parity


@dataclass(frozen=True)
class HardwareUse:
    """What a transpiled circuit does to the hardware.

    Attributes:
        layout: our qubit q is measured on physical qubit layout[q].
        one_qubit_gates: ((physical qubit, count), ...) without virtual gates, which cost nothing.
        two_qubit_gates: (((a, b), count), ...), a < b.
        idle_s: ((physical qubit, seconds), ...) that used qubits wait between their first gate and readout.
        duration_s: schedule length of one shot, readout included, without reset and delay between shots.
    """

    layout: tuple[int, ...]
    one_qubit_gates: tuple[tuple[int, int], ...]
    two_qubit_gates: tuple[tuple[tuple[int, int], int], ...]
    idle_s: tuple[tuple[int, float], ...]
    duration_s: float

    @property
    def one_qubit_count(self) -> int:
        return sum(count for _, count in self.one_qubit_gates)

    @property
    def two_qubit_count(self) -> int:
        return sum(count for _, count in self.two_qubit_gates)


def estimate_success(use: HardwareUse, calibration: Calibration) -> float:
    """Probability that nothing goes wrong in one shot, in [0, 1].

    Values that are no probability count as an error of 1, and so do gates on pairs without calibration: what
    is not known to work is not chosen.
    """
    read = math.prod(_kept(_at(calibration.readout_error, q), 1) for q in use.layout)
    return circuit_success(use, calibration) * read


def circuit_success(use: HardwareUse, calibration: Calibration) -> float:
    """The same without readout: that of one copy of the circuit, gates and waiting times alone."""
    pairs = dict(calibration.two_qubit_error)
    factors = [_kept(error, count) for error, count in _gates(use, calibration, pairs)]
    return math.prod(factors + [_idle(calibration, q, seconds) for q, seconds in use.idle_s])


def predicted_bias(success: float, spread: float) -> float:
    """|bias| of an energy in its own unit: (1 - success) * spread.

    Under a global depolarizing channel that keeps the state with probability F, <H> becomes
    F <H> + (1 - F) tr(H)/2^n: the bias is (1 - F) |<H> - tr(H)/2^n|, and `spread` stands for that distance.
    Readout and gate errors outside a term's light cone make this an overestimate for local terms; it is meant
    to be right within a factor of two.
    """
    return (1.0 - success) * spread


def spread_of(observable: PauliSum, start: int | None = None) -> float:
    """How far energies that a run measures lie from tr(H)/2^n, the mean of the spectrum.

    That of the basis state that it starts from, a molecule's Hartree-Fock state say, and at least the
    spectrum's standard deviation, the norm of the terms.
    """
    rest = observable.without_constant()
    deviation = float(np.linalg.norm(rest.coefficients))
    if start is None:
        return deviation
    diagonal = rest.x == 0
    signs = 1 - 2 * parity(rest.z[diagonal] & start)
    return max(deviation, abs(float(rest.coefficients[diagonal] @ signs)))


def _gates(
    use: HardwareUse, calibration: Calibration, pairs: dict[tuple[int, int], float]
) -> Iterable[tuple[float, int]]:
    for qubit, count in use.one_qubit_gates:
        yield _at(calibration.one_qubit_error, qubit), count
    for pair, count in use.two_qubit_gates:
        yield pairs.get(pair, 1.0), count


def _at(errors: tuple[float, ...], qubit: int) -> float:
    return errors[qubit] if qubit < len(errors) else 1.0


def _kept(error: float, count: int) -> float:
    """(1 - error)^count, 0 for what is no probability."""
    return (1.0 - as_probability(error)) ** count


def _idle(calibration: Calibration, qubit: int, seconds: float) -> float:
    t1_s, t2_s = (_time(times, qubit) for times in (calibration.t1_s, calibration.t2_s))
    return 0.5 + math.exp(-seconds / t1_s) / 6 + math.exp(-seconds / t2_s) / 3


def _time(times: tuple[float | None, ...], qubit: int) -> float:
    """A relaxation time in seconds; infinite where the snapshot does not tell."""
    value = times[qubit] if qubit < len(times) else None
    return value if value is not None and value > 0 else math.inf
