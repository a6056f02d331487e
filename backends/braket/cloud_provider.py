"""One Amazon Braket device as a provider.

A job is a quantum task: one circuit, or several of equal shots as a program set, for one task fee. The token
is the task's `clientToken`, with which Braket answers a second submission by the first task, and a tag, by
which `find` looks through the account's tasks on the device: Braket's own search cannot filter by tags.
Results are in the caller's bucket.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import Any, TypeVar

import numpy as np
from botocore.exceptions import BotoCoreError, ClientError
from braket.aws import AwsSession

from backends.braket.account import code_of, query_error, submission_error
from backends.braket.circuits import action_of
from backends.braket.device_calibration import read_calibration
from backends.braket.results import FILE, circuit_result, outcome_of
from backends.calibration import Calibration
from backends.catalog.batches import check_submission, usage_of
from backends.catalog.billing import cost_of_end
from backends.catalog.catalog_provider import DeviceStatus
from backends.catalog.description import DeviceDescription
from backends.http_errors import text_of
from backends.prices import Price, Usage
from backends.provider import (
    TODAYS,
    BillLine,
    JobGone,
    JobReport,
    JobState,
    ProviderUnavailable,
    ResultMissing,
    SubmitUnknown,
)
from backends.transpile.success import HardwareUse
from measurement.plan import ExecutionPlan, Outcome

R = TypeVar("R")

TOKEN_TAG = "shotwise-token"
KEY_PREFIX = "shotwise"
"""Folder of our results in the bucket."""

_STATES = {
    "CREATED": JobState.QUEUED,
    "QUEUED": JobState.QUEUED,
    "RUNNING": JobState.RUNNING,
    "CANCELLING": JobState.RUNNING,
    "COMPLETED": JobState.DONE,
    "FAILED": JobState.FAILED,
    "CANCELLED": JobState.CANCELLED,
}
_GONE = "ResourceNotFoundException"
_NOTHING_TO_CANCEL = frozenset({_GONE, "ConflictException"})
"""The task is not there or has ended: polling it says so."""
_MISSING = frozenset({"NoSuchKey", "404", "NoSuchBucket"})
_PAGE = 100


class BraketCloudProvider:
    """`backends.provider.Provider` for one device in one account. Thread-safe."""

    def __init__(self, description: DeviceDescription, session: AwsSession, bucket: str) -> None:
        self._description, self._session, self._bucket = description, session, bucket
        self._client: Any = session.braket_client
        self._lock = threading.Lock()  # boto3 clients may be shared by threads, sessions may not

    def __repr__(self) -> str:
        return f"BraketCloudProvider({self.name})"

    @property
    def name(self) -> str:
        return self._description.name

    @property
    def honours_tokens(self) -> bool:
        return True

    def status(self) -> DeviceStatus:
        """The device's health. Raises ProviderUnavailable."""
        device = self._device()
        queues = [
            q["queueSize"] for q in device.get("deviceQueueInfo", ()) if q["queue"] == "QUANTUM_TASKS_QUEUE"
        ]
        lengths = [int(size.removeprefix(">")) for size in queues]
        return DeviceStatus(
            device["deviceStatus"] == "ONLINE", max(lengths, default=None), device["deviceStatus"]
        )

    def calibration(self, now_us: int) -> Calibration | None:
        """The device's own as of its own time, None where it tells none. Raises ProviderUnavailable."""
        return read_calibration(json.loads(self._device()["deviceCapabilities"]))

    def hardware_use(self, plan: ExecutionPlan) -> tuple[HardwareUse, float] | None:
        """None: Braket compiles for its devices itself."""
        return None

    def usage(self, plan: ExecutionPlan, use: HardwareUse | None) -> Usage:
        return usage_of(plan, self._description, use)

    def close(self) -> None:
        """Nothing is kept open."""

    def submit(self, plan: ExecutionPlan, token: str) -> str:
        """Buy the shots of the plan's rows; the task's ARN."""
        check_submission(plan, token, self._description)
        action = action_of(plan)
        try:
            with self._lock:
                return self._session.create_quantum_task(
                    clientToken=token,
                    deviceArn=self._description.vendor_name,
                    action=action,
                    shots=plan.shots_total,
                    outputS3Bucket=self._bucket,
                    outputS3KeyPrefix=KEY_PREFIX,
                    tags={TOKEN_TAG: token},
                )
        except (BotoCoreError, ClientError) as error:
            raise submission_error(error) from None
        except (KeyError, ValueError):
            raise SubmitUnknown(f"{self.name}: the answer to the submission names no task") from None

    def find(self, token: str) -> list[str]:
        return [task["quantumTaskArn"] for task in self._tasks() if task["tags"][TOKEN_TAG] == token]

    def poll(self, job_id: str, price: Price | None = None) -> JobReport:
        """The task's state and cost; None where its price counts seconds and no result tells them."""
        task = self._task(job_id)
        state = self._state(task)
        cost = self._cost_micro_usd(task, state, price) if state.ended else None
        return JobReport(job_id, state, cost, task.get("failureReason", ""))

    def fetch(self, job_id: str, plan: ExecutionPlan) -> Outcome:
        """An ended task's counts; of a program set that failed or was cancelled, what succeeded before."""
        task = self._task(job_id)
        state = self._state(task)
        if not state.ended:
            raise ProviderUnavailable(f"{self.name}: task {job_id} is still {state}")
        if state is not JobState.DONE and not _successful_shots(task):
            return Outcome.from_rows([(np.zeros(0), np.zeros(0))] * len(plan))
        return self._decoded(task, lambda text: outcome_of(text, plan, self._read))

    def cancel(self, job_id: str) -> JobReport:
        try:
            with self._lock:
                self._client.cancel_quantum_task(quantumTaskArn=job_id)
        except ClientError as error:
            if code_of(error) not in _NOTHING_TO_CANCEL:
                raise query_error(error) from None
        except BotoCoreError as error:
            raise query_error(error) from None
        return self.poll(job_id)

    def bill(self, prices: Mapping[str, Price] = TODAYS) -> list[BillLine]:
        """Our ended tasks at their price; Braket's API tells shots and run time, not money.

        Tasks whose run time cannot be told any more are left out.
        """
        lines = []
        for summary in self._tasks():
            task, token = self._task(summary["quantumTaskArn"]), summary["tags"][TOKEN_TAG]
            state = self._state(task)
            if state.ended:
                cost = self._cost_micro_usd(task, state, prices.get(token))
                if cost is not None:
                    lines.append(BillLine(task["quantumTaskArn"], token, cost, computed=True))
        return lines

    def _cost_micro_usd(self, task: dict, state: JobState, price: Price | None) -> int | None:
        price, shots = price or self._description.price, _successful_shots(task)
        done = state is JobState.DONE or shots > 0
        asked = Usage(shots=task["shots"], seconds=self._description.queue.run_s(1, task["shots"]))
        seconds = Decimal(0)
        if done and price.per_second_usd:
            told = self._run_s(task)
            if told is None:
                return None
            seconds = told
        return cost_of_end(price, done=done, asked=asked, used=Usage(shots=shots, seconds=seconds))

    def _run_s(self, task: dict) -> Decimal | None:
        """How long a simulator ran, from its result; None where that is gone, or does not tell."""
        try:
            metadata = self._decoded(task, circuit_result).additional_metadata.simulatorMetadata
        except ResultMissing:
            return None
        return None if metadata is None else Decimal(metadata.executionDuration) / 1000

    def _decoded(self, task: dict, decode: Callable[[str], R]) -> R:
        """The task's result. Raises ResultMissing without one, ProviderUnavailable if it is unreadable."""
        job_id = task["quantumTaskArn"]
        try:
            return decode(self._read(task["outputS3Bucket"], f"{task['outputS3Directory']}/{FILE}"))
        except ClientError as error:
            if code_of(error) in _MISSING:
                raise ResultMissing(f"{self.name}: task {job_id} is completed and has no result") from None
            raise query_error(error) from None
        except BotoCoreError as error:
            raise query_error(error) from None
        except Exception as error:  # whatever the SDK's decoder meets: the result stays where it is
            raise ProviderUnavailable(
                f"{self.name}: the result of {job_id} cannot be read: {error}"
            ) from None

    def _read(self, bucket: str, key: str) -> str:
        with self._lock:
            return self._session.retrieve_s3_object_body(bucket, key)

    def _tasks(self) -> Iterator[dict[str, Any]]:
        """Summaries of our tasks on the device, newest page first as Braket gives them."""
        device = {"name": "deviceArn", "operator": "EQUAL", "values": [self._description.vendor_name]}
        further: dict[str, str] = {}
        while True:
            page = self._query(
                lambda further=further: self._client.search_quantum_tasks(
                    filters=[device], maxResults=_PAGE, **further
                )
            )
            yield from (task for task in page["quantumTasks"] if TOKEN_TAG in task.get("tags", {}))
            if not page.get("nextToken"):
                return
            further = {"nextToken": page["nextToken"]}

    def _task(self, job_id: str) -> dict[str, Any]:
        def found() -> dict[str, Any]:
            try:
                return self._client.get_quantum_task(quantumTaskArn=job_id)
            except ClientError as error:
                if code_of(error) == _GONE:
                    raise JobGone(f"{self.name}: there is no task {job_id}") from None
                raise

        return self._query(found)

    def _state(self, task: dict[str, Any]) -> JobState:
        state = _STATES.get(task.get("status", ""))
        if state is None:
            raise ProviderUnavailable(f"{self.name}: a task is in the unknown state {task.get('status')!r}")
        return state

    def _device(self) -> dict[str, Any]:
        return self._query(lambda: self._client.get_device(deviceArn=self._description.vendor_name))

    def _query(self, call: Callable[[], Any]) -> Any:
        """A call to the API that changes nothing. Raises ProviderUnavailable."""
        try:
            return call()
        except (BotoCoreError, ClientError) as error:
            raise query_error(error) from None
        except (KeyError, ValueError) as error:
            raise ProviderUnavailable(f"{self.name}: no usable answer: {text_of(error)}") from None


def _successful_shots(task: dict[str, Any]) -> int:
    """Of all its circuits; what a completed task does not tell it has measured in full."""
    return task.get("numSuccessfulShots", task["shots"] if task["status"] == "COMPLETED" else 0)
