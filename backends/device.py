"""What every simulator here is to the rest of Shotwise: a sampler, and some of them exact too."""

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
        n_qubits_max: largest circuit.
        metric: exact Fubini-Study metrics, for natural gradients.
    """

    n_qubits_max: int
    metric: bool = False


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
class Sampler(Protocol):
    """A place where circuits run and are read, shot by shot."""

    @property
    def name(self) -> str: ...

    @property
    def capabilities(self) -> Capabilities: ...

    def sample(self, plan: ExecutionPlan) -> Outcome:
        """Run every row of the plan; the same plan gives the same outcome on a simulator."""
        ...


@runtime_checkable
class ExactDevice(Sampler, Protocol):
    """A simulator that also tells energies without sampling noise."""

    def expectation(
        self, circuit: Circuit, observable: Observable, angles: np.ndarray, *, gradient: bool
    ) -> Expectations:
        """Energies (and angle gradients) at `angles`, shape (points, rotations), in radians."""
        ...
