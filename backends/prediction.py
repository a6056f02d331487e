"""What a device would do with a batch: predicted from its description, calibration and transpiled circuit."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from backends.calibration import Calibration, as_probability
from backends.catalog import DeviceDescription, split_plan
from backends.dispatch import Candidate
from backends.prices import Usage
from backends.transpile.success import predicted_bias, spread_of
from backends.transpile.synthesis import Structure
from measurement import ExecutionPlan, Grouping
from problems.circuit import Circuit
from problems.pauli import PauliSum

SUCCESS_MIN = 1e-3
"""Below this nothing is left of a signal, and a price of precision only needs to be absurd."""

UsageOf = Callable[[ExecutionPlan], Usage]
"""What any part of a plan uses on a device, in one job."""


@dataclass(frozen=True, eq=False)
class Workload:
    """A batch as predictions see it: the same for all points that the circuit is run at.

    Attributes:
        plan: any plan of this shape.
        std_error: of one energy; see `std_error_of`.
        spread: see `spread_of`.
        key: content of all that a prediction depends on.
    """

    plan: ExecutionPlan
    std_error: float
    spread: float
    key: bytes

    @classmethod
    def of(cls, plan: ExecutionPlan, grouping: Grouping, observable: PauliSum) -> Workload:
        whole = hashlib.sha256(Structure.of(plan).key())
        for array in (
            plan.point,
            plan.basis,
            plan.shots,
            observable.coefficients,
        ):
            whole.update(array.tobytes())
        whole.update(plan.bases.key())
        spread = spread_of(observable, plan.circuit.basis_state)
        return cls(plan, std_error_of(plan, grouping), spread, whole.digest())


def predict(workload: Workload, description: DeviceDescription, success: float, usage: UsageOf) -> Candidate:
    """A device's predictions for a batch that it can take; queues are expected at their catalog's mean."""
    quote = quote_micro_usd(workload.plan, description, usage)
    return Candidate(
        device=description.name,
        cost_micro_usd=quote,
        cost_micro_usd_max=quote,
        precise_micro_usd=quote + _more_shots_micro_usd(workload.plan, description, success, usage),
        wait_s=description.queue.mean_s,
        run_s=float(description.queue.run_s(len(workload.plan), workload.plan.shots_total)),
        success=success,
        bias=predicted_bias(success, workload.spread),
        std_error=workload.std_error,
    )


def quote_micro_usd(plan: ExecutionPlan, description: DeviceDescription, usage: UsageOf) -> int:
    """Worst case of a plan at the price of now: every job that it is split into."""
    return sum(description.price.cost_micro_usd(usage(batch.plan)) for batch in split_plan(plan, description))


def _more_shots_micro_usd(
    plan: ExecutionPlan, description: DeviceDescription, success: float, usage: UsageOf
) -> int:
    """What 1 / success^2 times the shots would cost more, the jobs being the same."""
    factor = max(success, SUCCESS_MIN) ** -2
    more = replace(plan, shots=np.ceil(plan.shots * factor).astype(np.int64))
    return description.price.cost_micro_usd(usage(more)) - description.price.cost_micro_usd(usage(plan))


def std_error_of(plan: ExecutionPlan, grouping: Grouping) -> float:
    """Standard error of one energy of the plan, from the groups' weights: a guide before any shot."""
    first = np.flatnonzero(plan.point == plan.point[0])
    weights = np.array([grouping.groups[int(plan.basis[row]) % len(grouping)].weight for row in first])
    return float(np.sqrt(np.sum(weights**2 / np.maximum(plan.shots[first], 1))))


def success_untranspiled(circuit: Circuit, calibration: Calibration) -> float:
    """Success on an all-to-all device: ladders of 2 (w - 1) two-qubit gates for a Pauli of weight w."""
    pairs = 0
    for index in range(len(circuit)):
        for x, z, _ in circuit.pauli_rotations(index):
            pairs += 2 * max((x | z).bit_count() - 1, 0)
    two_qubit = float(np.median([as_probability(e) for _, e in calibration.two_qubit_error] or [0.0]))
    readout = float(np.median([as_probability(e) for e in calibration.readout_error] or [0.0]))
    return (1 - two_qubit) ** pairs * (1 - readout) ** circuit.n_qubits
