"""A plan against a device's limits: whether a job takes it, how to split it, what it uses. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from backends.catalog.description import DeviceDescription
from backends.catalog.equal_shots import Cut, equal_cut
from backends.prices import Usage
from backends.provider import SubmitRejected
from backends.transpile.success import HardwareUse
from measurement.plan import ExecutionPlan, Outcome
from shotwise.words import quantity

JOBS_MAX = 1_000
"""Jobs that a device's part of a batch may be split into."""
_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, eq=False)
class Batch:
    """A part of a plan that fits into one job.

    Attributes:
        plan: what the job runs.
        rows: int64, for each row of `plan`, the row of the whole plan that it belongs to.
    """

    plan: ExecutionPlan
    rows: np.ndarray


def refusal(plan: ExecutionPlan, device: DeviceDescription) -> str | None:
    """Why one job cannot take the plan, as a short clause; None where it can."""
    if plan.circuit.n_qubits > device.n_qubits:
        return f"{quantity(plan.circuit.n_qubits, 'qubit')}, the device has {device.n_qubits}"
    if not device.verbatim and plan.bases.varied:
        return "folded or flipped circuits, which the device would compile away"
    if len(plan) == 0 or (plan.shots < 1).any():
        return "a circuit with no shots"
    if len(plan) > device.circuits_max:
        return f"{quantity(len(plan), 'circuit')} in a job, limit {device.circuits_max}"
    if int(plan.shots.max()) > device.shots_max:
        return f"{int(plan.shots.max())} shots for a circuit, limit {device.shots_max}"
    if device.equal_shots and (plan.shots != plan.shots[0]).any():
        return "circuits with different shots in a job, which the device does not take"
    if device.job_shots_max is not None and plan.shots_total > device.job_shots_max:
        return f"{plan.shots_total} shots in a job, limit {device.job_shots_max}"
    return None


def check_submission(plan: ExecutionPlan, token: str, device: DeviceDescription) -> None:
    """Refuse what no job of the device can be.

    Raises:
        SubmitRejected: for good; the token cannot be a tag, or the plan is beyond the device.
    """
    if not _TOKEN.fullmatch(token):
        raise SubmitRejected("token: 1 to 64 letters, digits, - or _", permanent=True)
    if reason := refusal(plan, device):
        raise SubmitRejected(f"{device.name}: {reason}", permanent=True)


def split_plan(plan: ExecutionPlan, device: DeviceDescription) -> list[Batch]:
    """The plan as jobs within the device's limits, with every shot of it.

    Rows of 0 shots are dropped; a row above `shots_max` becomes several. Where all circuits of a job must
    have the same shots, rows become several such circuits as well, and bring up to one circuit's shots more
    than the plan asks for. A plan that fits is returned as it is; parts draw from seeds of their own,
    (*seed, part).
    """
    if refusal(plan, device) is None:
        return [Batch(plan, np.arange(len(plan)))]
    cut = _cut(plan, device)
    rows, shots = _circuits(plan, device, cut)
    parts = (slice(start, start + cut.circuits) for start in range(0, len(rows), cut.circuits))
    return [Batch(plan.part(rows[part], shots[part], branch=at), rows[part]) for at, part in enumerate(parts)]


def jobs_needed(plan: ExecutionPlan, device: DeviceDescription) -> int:
    """How many jobs `split_plan` makes of a plan, found without making them."""
    if refusal(plan, device) is None:
        return 1
    cut = _cut(plan, device)
    return -(-int(_ratio_up(plan.shots, cut.shots).sum()) // cut.circuits)


def jobs_refusal(plan: ExecutionPlan, device: DeviceDescription) -> str | None:
    """Why the device is not to take the plan in as many jobs as it asks for; None where it may."""
    jobs = jobs_needed(plan, device)
    return f"would take {jobs:,} jobs, more than {JOBS_MAX:,}" if jobs > JOBS_MAX else None


def join_outcomes(plan: ExecutionPlan, batches: list[Batch], outcomes: list[Outcome]) -> Outcome:
    """The outcome of the whole plan from those of its parts; counts of a split row are added."""
    parts = zip(batches, outcomes, strict=True)
    return Outcome.summed(len(plan), ((batch.rows, outcome) for batch, outcome in parts))


def usage_of(plan: ExecutionPlan, device: DeviceDescription, use: HardwareUse | None = None) -> Usage:
    """What one job of the plan uses at most: one task, all its shots, and the device's time for them.

    Args:
        use: of the plan's circuit on the device, for prices per gate; None counts no gates.
    """
    shots = plan.shots_total
    runs = sum(plan.bases.copies_at(int(b)) * int(s) for b, s in zip(plan.basis, plan.shots, strict=True))
    return Usage(
        tasks=1,
        shots=shots,
        one_qubit_gate_shots=use.one_qubit_count * runs if use else 0,
        two_qubit_gate_shots=use.two_qubit_count * runs if use else 0,
        measured_qubit_shots=plan.circuit.n_qubits * shots,
        seconds=device.queue.run_s(len(plan), shots),
    )


def _circuits(plan: ExecutionPlan, device: DeviceDescription, cut: Cut) -> tuple[np.ndarray, np.ndarray]:
    """Rows and shots of the circuits that the plan becomes."""
    copies = _ratio_up(plan.shots, cut.shots)
    rows, shots = np.repeat(np.arange(len(plan)), copies), np.full(int(copies.sum()), cut.shots)
    if not device.equal_shots:  # what is left of a row is a circuit of its own
        measured = np.flatnonzero(copies)
        shots[np.cumsum(copies)[measured] - 1] -= (copies * cut.shots - plan.shots)[measured]
    return rows, shots


def _cut(plan: ExecutionPlan, device: DeviceDescription) -> Cut:
    if device.equal_shots and plan.shots.any():
        return equal_cut(plan.shots, device)
    return Cut(device.shots_max, device.circuits_max)


def _ratio_up(shots: np.ndarray, each: int) -> np.ndarray:
    """How often `each` goes into them, rounded up."""
    return -(-shots // each)
