"""What every device is to the rest of Shotwise: what it can do, and the two questions it may be asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from measurement.plan import ExecutionPlan, Outcome
from problems.circuit import Circuit
from problems.problem import Observable


@dataclass(frozen=True)
class Capabilities:
    """What a device can be asked.

    Attributes:
        exact: `expectation` without sampling noise.
        samples: `sample`.
        metric: exact Fubini-Study metrics, for natural gradients.
        free: costs nothing, so lost work may simply be done again.
        n_qubits_max: largest circuit.
    """

    exact: bool
    samples: bool
    metric: bool
    free: bool
    n_qubits_max: int


@dataclass(frozen=True, eq=False)
class Expectations:
    """Exact energies, and what was asked for beside them.

    Attributes:
        values: shape (points,).
        gradients: with respect to the rotation angles, shape (points, rotations), or None.
    """

    values: np.ndarray
    gradients: np.ndarray | None = None


@runtime_checkable
class Device(Protocol):
    """A place where circuits run.

    A device is asked only what its capabilities allow. Both questions take a whole batch, so that a queue
    is waited for once.
    """

    @property
    def name(self) -> str: ...

    @property
    def capabilities(self) -> Capabilities: ...

    def expectation(
        self, circuit: Circuit, observable: Observable, angles: np.ndarray, *, gradient: bool
    ) -> Expectations:
        """Energies (and angle gradients) at `angles`, shape (points, rotations), in radians."""
        ...

    def sample(self, plan: ExecutionPlan) -> Outcome:
        """Run every row of the plan; the same plan gives the same outcome on a simulator."""
        ...
