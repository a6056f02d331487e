"""Taking a submission: what is refused, what is accepted, and what the client gets to hear of it.

The submit faults live here. Each decides inside the transaction that its counter and the job belong to, so
an accepted job and the fault that hides it are durable together. A refusal is returned as a value and raised
only after the commit, because a raised one would undo the count.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Callable
from typing import TypeAlias

from backends.prices import Price
from backends.sandbox import store
from backends.sandbox.devices import SandboxDevice
from backends.sandbox.faults import FaultKind, FaultSpec, visit
from backends.sandbox.jobs import Job, schedule
from backends.sandbox.messages import Receipt, Submission
from backends.sandbox.refusals import ConnectionDropped, NoResponse, Refused
from backends.sandbox.usage import scaled
from backends.sandbox.wire import PlanMessage

Answer: TypeAlias = Receipt | Refused | NoResponse | ConnectionDropped

_BEFORE: dict[FaultKind, Callable[[FaultSpec], Refused | NoResponse]] = {
    FaultKind.SUBMIT_TIMEOUT_BEFORE: lambda spec: NoResponse(spec.seconds_used),
    FaultKind.SUBMIT_RATE_LIMITED: lambda spec: Refused(
        429, "rate_limited", "too many submissions", retry_after_s=spec.seconds_used
    ),
    FaultKind.SUBMIT_CONFLICT: lambda _: Refused(
        409, "token_in_progress", "another submission with this token is in progress"
    ),
    FaultKind.SUBMIT_ERROR_BEFORE: lambda _: Refused(500, "internal_error", "something went wrong"),
    FaultKind.SUBMIT_OFFLINE: lambda spec: Refused(
        503, "device_offline", "the device is offline", retry_after_s=spec.seconds_used
    ),
    FaultKind.SUBMIT_GONE: lambda _: Refused(410, "device_retired", "the device was retired"),
    FaultKind.SUBMIT_QUOTA: lambda _: Refused(402, "quota_exceeded", "the account's quota is used up"),
}
"""Faults that refuse before anything is accepted, in the order in which they are tried."""

_AFTER: dict[FaultKind, Callable[[FaultSpec], Refused | NoResponse | ConnectionDropped]] = {
    FaultKind.SUBMIT_TIMEOUT_AFTER: lambda spec: NoResponse(spec.seconds_used),
    FaultKind.SUBMIT_ERROR_AFTER: lambda _: Refused(500, "internal_error", "something went wrong"),
    FaultKind.SUBMIT_REPLY_LOST: lambda _: ConnectionDropped(),
}
"""Faults that hide an acceptance."""


def take(tx: sqlite3.Connection, device: SandboxDevice, submission: Submission) -> Answer:
    """Accept or refuse a submission; the answer that the client gets."""
    if refusal := _beyond_limits(device, submission.plan):
        return refusal
    subject = submission.token
    for kind, refuse in _BEFORE.items():
        if spec := visit(tx, kind, device.name, subject):
            return refuse(spec)
    if known := store.job_by_token(tx, device.name, subject) if device.honours_tokens else None:
        if known.plan_sha256 != submission.plan.sha256:
            return Refused(409, "token_reused", "this token was used for another plan")
        job = known
    else:
        late = visit(tx, FaultKind.SUBMIT_ACCEPTED_LATE, device.name, subject)
        job = _accept(tx, device, submission, late.seconds_used if late else 0.0)
        if visit(tx, FaultKind.SUBMIT_DELIVERED_TWICE, device.name, subject) and not device.honours_tokens:
            _accept(tx, device, submission, 0.0)
        if late:
            return NoResponse(0.0)
    return _acceptance(tx, job)


def price_now(tx: sqlite3.Connection, device: SandboxDevice) -> Price:
    """The device's price, after the changes that faults made."""
    factor = store.price_factor(tx, device.name)
    return device.price if factor == 1 else scaled(device.price, factor)


def _beyond_limits(device: SandboxDevice, plan: PlanMessage) -> Refused | None:
    if plan.n_qubits > device.n_qubits:
        return Refused(422, "too_many_qubits", f"{plan.n_qubits} qubits, the device has {device.n_qubits}")
    if len(plan.point) > device.circuits_max:
        return Refused(
            422, "too_many_circuits", f"{len(plan.point)} circuits, a job takes {device.circuits_max}"
        )
    if max(plan.shots) > device.shots_max:
        return Refused(422, "too_many_shots", f"{max(plan.shots)} shots, a circuit takes {device.shots_max}")
    return None


def _accept(tx: sqlite3.Connection, device: SandboxDevice, submission: Submission, hidden_s: float) -> Job:
    if change := visit(tx, FaultKind.PRICE_CHANGE, device.name, submission.token):
        store.set_price_factor(tx, device.name, store.price_factor(tx, device.name) * change.factor_used)
    now_us = store.now_us(tx)
    _, free_us = store.open_jobs(tx, device.name)
    plan = submission.plan.plan()
    start_us, end_us = schedule(plan, device.queue, now_us, free_us)
    stuck = visit(tx, FaultKind.JOB_STUCK_QUEUED, device.name, submission.token)
    job = Job(
        job_id=f"sb-{secrets.token_hex(8)}",
        device=device.name,
        token=submission.token if device.honours_tokens else None,
        tags_json=json.dumps(list(dict.fromkeys((submission.token, *submission.tags)))),
        plan_json=submission.plan.model_dump_json(),
        plan_sha256=submission.plan.sha256,
        price_json=price_now(tx, device).model_dump_json(),
        submitted_us=now_us,
        visible_us=now_us + int(hidden_s * 1e6),
        start_us=None if stuck else start_us,
        end_us=None if stuck else end_us,
    )
    store.insert_job(tx, job)
    return job


def _acceptance(tx: sqlite3.Connection, job: Job) -> Answer:
    """What the client hears of an acceptance, or of its repetition."""
    for kind, hide in _AFTER.items():
        if spec := visit(tx, kind, job.device, job.subject):
            return hide(spec)
    other = store.newest_other_job(tx, job)
    if other and visit(tx, FaultKind.SUBMIT_DUPLICATE_REPLY, job.device, job.subject):
        return _receipt(other)
    return _receipt(job)


def _receipt(job: Job) -> Receipt:
    return Receipt(job_id=job.job_id, tags=job.tags)
