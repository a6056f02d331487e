"""What the journal says of runs, their iterations and their jobs."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True)
class NewRun:
    """What is known of a run when it is entered.

    Attributes:
        kind: of its problem.
        versions_json: of the packages that its results may depend on.
    """

    name: str
    kind: str
    spec_json: str
    problem_sha256: str
    versions_json: str


CALIBRATION = "calibration"
"""The kind of a run that probes a device and has no spec."""


class RunState(StrEnum):
    """Where a run stands in the journal."""

    CREATED = "created"
    RUNNING = "running"
    INTERRUPTED = "interrupted"
    """Left for another driver."""
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    FAILED = "failed"

    @property
    def is_final(self) -> bool:
        """It has a result or was ended for good: nothing drives it any more."""
        return self in (RunState.COMPLETED, RunState.CANCELLED)

    @property
    def has_ended(self) -> bool:
        """Nothing drives it now; a failed run can be driven on."""
        return self.is_final or self is RunState.FAILED


class JobPhase(StrEnum):
    """Where a bought job stands in the journal."""

    INTENT = "intent"
    SUBMITTED = "submitted"
    UNKNOWN = "unknown"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        return self in (JobPhase.DONE, JobPhase.FAILED, JobPhase.CANCELLED)


@dataclass(frozen=True)
class RunRecord:
    """One row of `runs`."""

    run_id: str
    name: str
    kind: str
    state: RunState
    reason: str | None
    spec_json: str
    problem_sha256: str
    versions_json: str
    created_us: int
    updated_us: int
    active_us: int
    result_json: str | None
    mlflow_run_id: str | None
    fence: int
    holder: str | None
    lease_until_us: int
    parent: str | None


@dataclass(frozen=True)
class IterationRecord:
    """What one iteration found. `parameters` are little-endian float64 bytes; shots and cost are its own.

    `energy` is what the optimizer saw: of simultaneous perturbation the mean over points around the
    parameters, of line fits the fitted minimum, of a model its value. A run's result is measured anew.
    """

    iteration: int
    at_us: int
    energy: float
    energy_std_error: float
    gradient_norm: float | None
    fidelity: float | None
    evaluations: int
    shots: int
    cost_micro_usd: int
    parameters: bytes


@dataclass(frozen=True)
class JobKey:
    """Which piece of work a job is; the same work always has the same token."""

    run_id: str
    iteration: int
    batch: int
    attempt: int = 0

    @property
    def token(self) -> str:
        """Client token, 64 hexadecimal characters."""
        text = f"{self.run_id}/{self.iteration}/{self.batch}/{self.attempt}"
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class FreeJob:
    """What a device that costs nothing measured, in one job that was never out.

    Attributes:
        outcome: as bytes.
        began_us: microseconds since the epoch.
    """

    key: JobKey
    device: str
    shots: int
    outcome: bytes
    began_us: int


def now_us() -> int:
    """Microseconds since the epoch, UTC."""
    return time.time_ns() // 1000
