"""What the jobs of one batch delivered: which shots are missing still, and all of them joined.

A batch's rows are known by their places: a row above a device's limit is in a job as several rows of the same
point and basis.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from measurement import ExecutionPlan, Outcome


@dataclass(frozen=True, eq=False)
class Delivery:
    """What one job brought of a plan: of its `rows`, asked for as `plan`."""

    rows: np.ndarray
    plan: ExecutionPlan
    outcome: Outcome


def undelivered(
    plan: ExecutionPlan, delivered: Sequence[Delivery]
) -> tuple[np.ndarray, ExecutionPlan] | None:
    """The rows of `plan` whose shots were not all delivered, and a plan for the rest; None where none are.

    While nothing was brought it is the plan itself, so a plain retry draws the same numbers; what is bought
    to complete a partial result draws from a seed of its own.
    """
    if not delivered:
        return np.arange(len(plan)), plan
    left = plan.shots.copy()
    for part in delivered:
        np.subtract.at(left, part.rows, part.outcome.shots)
    rows = np.flatnonzero(left > 0)
    if not len(rows):
        return None
    return rows, plan.part(rows, left[rows], branch=1_000_000 + len(delivered))


def join_deliveries(plan: ExecutionPlan, delivered: Sequence[Delivery]) -> Outcome:
    """The outcome of `plan` from its deliveries; counts of a row are added."""
    return Outcome.summed(len(plan), ((part.rows, part.outcome) for part in delivered))


def shape_sha256(plan: ExecutionPlan) -> str:
    """What a job of the plan measures and how often; angles left out: machines differ in their last bits."""
    circuit, whole = plan.circuit, hashlib.sha256()
    whole.update(repr((circuit.n_qubits, circuit.initial_state, circuit.initial_plus)).encode())
    for array in (circuit.x, circuit.z, circuit.source, plan.point, plan.basis, plan.shots):
        whole.update(repr(array.shape).encode() + np.ascontiguousarray(array).tobytes())
    whole.update(plan.bases.key())
    return whole.hexdigest()
