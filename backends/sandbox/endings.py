"""How sandbox jobs end, and what is billed. Endings are recorded when somebody next asks, by the clock."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import replace
from decimal import ROUND_CEILING, Decimal

from backends.provider import JobState
from backends.sandbox import store
from backends.sandbox.devices import SandboxDevice
from backends.sandbox.faults import FaultKind, FaultSpec, visit
from backends.sandbox.jobs import Job
from backends.sandbox.usage import cost_micro_usd


def record_due(tx: sqlite3.Connection, devices: Mapping[str, SandboxDevice], now_us: int) -> None:
    """End every job whose time has come; those of devices no longer configured stay as they are."""
    for job in store.jobs_due(tx, now_us):
        if job.device not in devices:
            continue
        if job.revives_us is not None:
            _revive(tx, devices[job.device], job, now_us)
        else:
            complete(tx, devices[job.device], job, now_us)


def complete(tx: sqlite3.Connection, device: SandboxDevice, job: Job, now_us: int) -> Job:
    """The job has run: done or failed, wholly or in part, and billed."""
    shots = job.plan.shots_total
    state, message, has_result = JobState.DONE, "", True
    if fails := _fires(tx, FaultKind.JOB_FAILS, job):
        shots = int(shots * _share(fails))
        state, message = JobState.FAILED, "the device lost its calibration during the job"
    elif partial := _fires(tx, FaultKind.JOB_PARTIAL, job):
        shots = int(shots * _share(partial))
    elif _fires(tx, FaultKind.JOB_RESULT_MISSING, job):
        has_result = False
    cost = cost_micro_usd(job.price, job.plan, device.queue, state, shots)
    if cost and (above := _fires(tx, FaultKind.BILL_ABOVE_QUOTE, job)):
        cost = _times(cost, above.factor_used)
    ended = replace(
        job,
        state=state,
        shots_done=shots,
        has_result=int(has_result),
        cost_micro_usd=cost,
        message=message,
    )
    store.update_job(tx, ended)
    _bill(tx, ended, cost, f"{shots} shots, {state}", now_us)
    return ended


def cancel(tx: sqlite3.Connection, device: SandboxDevice, job: Job, now_us: int) -> Job:
    """A request to cancel a job that has not ended; what it became, which may be done."""
    if _fires(tx, FaultKind.CANCEL_RACES_COMPLETION, job):
        return complete(tx, device, replace(job, start_us=job.start_us or now_us, end_us=now_us), now_us)
    shots = job.shots_run_by(now_us)
    cost = cost_micro_usd(job.price, job.plan, device.queue, JobState.CANCELLED, shots)
    late = _fires(tx, FaultKind.COMPLETES_AFTER_CANCEL, job)
    cancelled = replace(
        job,
        state=JobState.CANCELLED,
        shots_done=shots,
        cost_micro_usd=cost,
        revives_us=now_us + int(late.seconds_used * 1e6) if late else None,
        message="cancelled by the client",
    )
    store.update_job(tx, cancelled)
    _bill(tx, cancelled, cost, f"{shots} shots, cancelled", now_us)
    return cancelled


def _revive(tx: sqlite3.Connection, device: SandboxDevice, job: Job, now_us: int) -> None:
    """The cancellation never reached the device: done after all, and billed as such."""
    shots = job.plan.shots_total
    cost = cost_micro_usd(job.price, job.plan, device.queue, JobState.DONE, shots)
    done = replace(
        job, state=JobState.DONE, shots_done=shots, cost_micro_usd=cost, revives_us=None, message=""
    )
    store.update_job(tx, done)
    _bill(tx, job, cost - (job.cost_micro_usd or 0), f"{shots} shots, completed after cancellation", now_us)


def _bill(tx: sqlite3.Connection, job: Job, cost: int, description: str, now_us: int) -> None:
    """One line now, and perhaps a correction later; what costs nothing is not on a bill."""
    if not cost:
        return
    store.add_bill_line(tx, job, cost, description, now_us)
    if correction := _fires(tx, FaultKind.BILL_LATE_CORRECTION, job):
        at_us = now_us + int(correction.seconds_used * 1e6)
        store.add_bill_line(tx, job, _times(cost, correction.factor_used), "correction", at_us)


def _fires(tx: sqlite3.Connection, kind: FaultKind, job: Job) -> FaultSpec | None:
    return visit(tx, kind, job.device, job.subject)


def _share(spec: FaultSpec) -> Decimal:
    return min(Decimal(1), max(Decimal(0), spec.factor_used))


def _times(cost: int, factor: Decimal) -> int:
    return int((cost * factor).to_integral_value(ROUND_CEILING))
