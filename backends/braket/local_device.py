"""Amazon Braket's local statevector simulator as a device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from braket.devices import LocalSimulator
from braket.tasks import GateModelQuantumTaskResult

from backends.braket.circuits import circuit_of
from backends.device import Capabilities
from measurement.plan import ExecutionPlan, Outcome


@dataclass(frozen=True)
class BraketLocalDevice:
    """`braket_sv` through the SDK's `LocalSimulator`.

    Its own sampler cannot be seeded (amazon-braket-default-simulator 1.41), so it is asked for exact
    probabilities, and counts are drawn from them with the plan's random numbers.
    """

    name: str = "braket-local"

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(n_qubits_max=20)

    def sample(self, plan: ExecutionPlan) -> Outcome:
        """Every row; rows of the same point and basis are simulated once."""
        simulator = LocalSimulator("braket_sv")
        distributions: dict[tuple[int, int], np.ndarray] = {}
        results = []
        for row in range(len(plan)):
            where = int(plan.point[row]), int(plan.basis[row])
            if where not in distributions:
                distributions[where] = _probabilities(simulator, plan, row)
            counts = plan.generator(row).multinomial(int(plan.shots[row]), distributions[where])
            states = np.flatnonzero(counts)
            results.append((states, counts[states]))
        return Outcome.from_rows(results)


def _probabilities(simulator: LocalSimulator, plan: ExecutionPlan, row: int) -> np.ndarray:
    """Of every basis state, ours, shape (2**n,), summing to one."""
    n_qubits = plan.circuit.n_qubits
    circuit: Any = circuit_of(plan, row)  # the SDK adds its result methods at import
    result = cast(GateModelQuantumTaskResult, simulator.run(circuit.probability(), shots=0).result())
    by_theirs = np.asarray(result.values[0], dtype=np.float64)
    ours = by_theirs.reshape((2,) * n_qubits).transpose().ravel()
    ours = np.maximum(ours, 0.0)
    return ours / ours.sum()
