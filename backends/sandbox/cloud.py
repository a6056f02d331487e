"""The sandbox cloud without its HTTP: every question a client can ask, each one durable transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TypeVar

from backends.provider import JobState
from backends.sandbox import endings, faults, store, submitting
from backends.sandbox.devices import SandboxDevice
from backends.sandbox.drift import snapshot_at
from backends.sandbox.faults import FaultKind, FaultList, FaultSpec
from backends.sandbox.jobs import Job
from backends.sandbox.messages import (
    BillPage,
    CalibrationMessage,
    ClockAnswer,
    ClockSetting,
    DeviceDescription,
    DeviceList,
    JobAnswer,
    JobIds,
    QueueAnswer,
    Receipt,
    Submission,
)
from backends.sandbox.refusals import Refused
from backends.sandbox.sampling import measure
from backends.sandbox.wire import OutcomeMessage

T = TypeVar("T")


class Cloud:
    """Devices and the store of their jobs. Thread-safe; raises Refused, NoResponse, ConnectionDropped."""

    def __init__(self, devices: Mapping[str, SandboxDevice], jobs: store.Store) -> None:
        self._devices, self._store = devices, jobs

    def submit(self, device_name: str, submission: Submission) -> Receipt:
        """Accept a job, or answer as an injected fault wants."""
        device = self._device(device_name)
        return self._settled(lambda tx: submitting.take(tx, device, submission))

    def job(self, job_id: str) -> JobAnswer:
        """A job's state now, or an earlier one where answers come out of order."""
        with self._asked(job_id) as (tx, now_us, job):
            state = job.state_at(now_us)
            if state is not JobState.QUEUED and faults.visit(
                tx, FaultKind.JOB_OUT_OF_ORDER, job.device, job.subject
            ):
                return JobAnswer(job_id=job_id, state=JobState.QUEUED)
            return self._answer(job, state)

    def result(self, job_id: str) -> OutcomeMessage:
        """What an ended job measured; computed once, when it is first asked for, then kept."""
        with self._asked(job_id) as (tx, _, job):
            kept = store.result_json(tx, job_id)
        if not job.ended:
            raise Refused(409, "not_ended", "the job has not ended")
        if not job.has_result:
            raise Refused(404, "result_missing", "there is no result for this job")
        if kept is not None:
            return OutcomeMessage.model_validate_json(kept)
        # outside any transaction: it may take seconds, and the same job always gives the same counts
        outcome = OutcomeMessage.of(
            measure(self._device(job.device), job.plan, job.shots_done, job.start_us or job.submitted_us)
        )
        with self._store.transaction() as tx:
            store.keep_result(tx, job_id, job.state, outcome.model_dump_json())
        return outcome

    def cancel(self, job_id: str) -> JobAnswer:
        """Cancel a job that has not ended; its state afterwards."""
        with self._asked(job_id) as (tx, now_us, job):
            if not job.ended:
                job = endings.cancel(tx, self._device(job.device), job, now_us)
            return self._answer(job, JobState(job.state))

    def find(self, device_name: str, *, tag: str) -> JobIds:
        """Jobs of a device that carry a tag; the client token is always one."""
        with self._asking(device_name, tag) as (tx, now_us):
            return JobIds(job_ids=tuple(store.jobs_with_tag(tx, device_name, tag, now_us)))

    def find_token(self, device_name: str, token: str) -> JobIds:
        """The job under a client token, where the device keeps them."""
        if not self._device(device_name).honours_tokens:
            raise Refused(400, "tokens_ignored", "this device ignores client tokens: search by tag")
        with self._asking(device_name, token) as (tx, now_us):
            job = store.job_by_token(tx, device_name, token)
            return JobIds(job_ids=(job.job_id,) if job and job.visible_us <= now_us else ())

    def bill(self, device_name: str, after: int) -> BillPage:
        """A page of the device's bill."""
        with self._asking(device_name, "bill") as (tx, now_us):
            return BillPage(lines=store.bill_lines(tx, device_name, after, now_us))

    def queue(self, device_name: str) -> QueueAnswer:
        """How long the queue is."""
        queue = self._device(device_name).queue
        with self._asking(device_name, "queue") as (tx, now_us):
            jobs, last_us = store.open_jobs(tx, device_name)
        return QueueAnswer(
            jobs=jobs, wait_s=max(float(queue.latency_s * queue.wait_scale), (last_us - now_us) / 1e6)
        )

    def calibration(self, device_name: str) -> CalibrationMessage:
        """The device's latest snapshot, or what faults make of it."""
        device = self._device(device_name)
        with self._asking(device_name, "calibration") as (tx, now_us):
            fired = {kind: faults.visit(tx, kind, device_name, "calibration") for kind in _CALIBRATION_KINDS}
        if fired[FaultKind.CALIBRATION_MISSING]:
            raise Refused(404, "calibration_missing", "the device has no calibration")
        snapshot = snapshot_at(device, now_us)
        if stale := fired[FaultKind.CALIBRATION_STALE]:
            snapshot = replace(snapshot, taken_us=snapshot.taken_us - int(stale.seconds_used * 1e6))
        if future := fired[FaultKind.CALIBRATION_FUTURE]:
            snapshot = replace(snapshot, taken_us=now_us + int(future.seconds_used * 1e6))
        if fired[FaultKind.CALIBRATION_NAN]:
            snapshot = replace(snapshot, readout_error=(float("nan"), *snapshot.readout_error[1:]))
        if fired[FaultKind.CALIBRATION_ERROR_ONE]:
            snapshot = replace(snapshot, one_qubit_error=(1.0, *snapshot.one_qubit_error[1:]))
        return CalibrationMessage.of(snapshot)

    def describe(self, device_name: str) -> DeviceDescription:
        """What a device can do and what it costs now."""
        device = self._device(device_name)
        with self._store.transaction() as tx:
            price = submitting.price_now(tx, device)
        return DeviceDescription(
            **device.model_dump(exclude={"noise", "price", "queue"}), price=price, queue=device.queue
        )

    def devices(self) -> DeviceList:
        return DeviceList(devices=tuple(self.describe(name) for name in self._devices))

    def inject(self, specs: list[FaultSpec]) -> FaultList:
        """Add faults; all of them, with their counts."""
        for spec in specs:
            if spec.device is not None:
                self._device(spec.device)
        with self._store.transaction() as tx:
            for spec in specs:
                faults.add_fault(tx, spec)
            return faults.statuses(tx)

    def faults(self) -> FaultList:
        with self._store.transaction() as tx:
            return faults.statuses(tx)

    def clear_faults(self) -> FaultList:
        with self._store.transaction() as tx:
            faults.clear(tx)
            return faults.statuses(tx)

    def clock(self, setting: ClockSetting | None = None) -> ClockAnswer:
        """The time here; after moving it, where asked."""
        with self._store.transaction() as tx:
            offset_us = store.clock_offset_us(tx)
            if setting and setting.offset_s is not None:
                offset_us = int(setting.offset_s * 1e6)
            if setting and setting.advance_s is not None:
                offset_us += int(setting.advance_s * 1e6)
            store.set_clock_offset_us(tx, offset_us)
            return ClockAnswer(now_us=store.now_us(tx), offset_us=offset_us)

    def _device(self, name: str) -> SandboxDevice:
        if name not in self._devices:
            raise Refused(404, "device_unknown", "there is no such device")
        return self._devices[name]

    def _answer(self, job: Job, state: JobState) -> JobAnswer:
        cost = job.cost_micro_usd if self._device(job.device).reports_cost else None
        return JobAnswer(job_id=job.job_id, state=state, cost_micro_usd=cost, message=job.message)

    def _settled(self, decide: Callable[[sqlite3.Connection], T | Exception]) -> T:
        """Commit what `decide` did, then raise what it refused with."""
        with self._store.transaction() as tx:
            endings.record_due(tx, self._devices, store.now_us(tx))
            decided = decide(tx)
        if isinstance(decided, Exception):
            raise decided
        return decided

    @contextmanager
    def _asking(self, device_name: str, subject: str) -> Iterator[tuple[sqlite3.Connection, int]]:
        """A transaction in which everything due is recorded, unless a fault refuses the question."""
        self._device(device_name)
        self._settled(lambda tx: _read_error(tx, device_name, subject))
        with self._store.transaction() as tx:
            yield tx, store.now_us(tx)

    @contextmanager
    def _asked(self, job_id: str) -> Iterator[tuple[sqlite3.Connection, int, Job]]:
        with self._store.transaction() as tx:
            known = store.job_by_id(tx, job_id)
        if known is None:
            raise Refused(404, "job_unknown", "there is no such job")
        with self._asking(known.device, known.subject) as (tx, now_us):
            job = store.job_by_id(tx, job_id)
            assert job is not None
            yield tx, now_us, job


_CALIBRATION_KINDS = (
    FaultKind.CALIBRATION_MISSING,
    FaultKind.CALIBRATION_STALE,
    FaultKind.CALIBRATION_FUTURE,
    FaultKind.CALIBRATION_NAN,
    FaultKind.CALIBRATION_ERROR_ONE,
)


def _read_error(tx: sqlite3.Connection, device_name: str, subject: str) -> Refused | None:
    if faults.visit(tx, FaultKind.READ_ERROR, device_name, subject):
        return Refused(500, "internal_error", "something went wrong")
    return None
