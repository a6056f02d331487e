"""One IBM Quantum backend as a provider.

IBM's API takes no idempotency key: a second submission with the same token buys a second job. The token is
set as a job tag in the submission itself, and `find` searches for it. The search may follow the write by a
little, so an empty answer right after a lost one is no proof; whoever reconciles waits before believing it.

A job is a Sampler V2 job, a PUB for each basis and number of shots. Its usage in seconds tells its cost.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from decimal import ROUND_CEILING, Decimal
from typing import Any, cast

from qiskit.transpiler import Target
from qiskit_ibm_runtime.decoders.result_decoder import ResultDecoder
from qiskit_ibm_runtime.exceptions import IBMError
from qiskit_ibm_runtime.models import BackendConfiguration
from qiskit_ibm_runtime.utils.backend_converter import convert_to_target
from qiskit_ibm_runtime.utils.backend_decoder import (
    configuration_from_server_data,
    properties_from_server_data,
)

from backends.calibration import Calibration
from backends.catalog.batches import check_submission, usage_of
from backends.catalog.catalog_provider import DeviceStatus
from backends.catalog.description import DeviceDescription
from backends.http_errors import text_of
from backends.ibm.account import IbmAccount, status_of
from backends.ibm_properties import read_calibration
from backends.prices import Price, Usage
from backends.provider import (
    TODAYS,
    BillLine,
    JobGone,
    JobReport,
    JobState,
    ProviderUnavailable,
    ResultMissing,
    SubmitRejected,
    SubmitUnknown,
)
from backends.transpile.pubs import group_rows, join_results, pub_of
from backends.transpile.success import HardwareUse
from backends.transpile.transpiler import Transpiled, Transpiler
from measurement.plan import ExecutionPlan, Outcome
from shotwise.errors import CannotRunError

TAG = "shotwise"
"""Tag of all our jobs, beside their token."""

_STATES = {
    "queued": JobState.QUEUED,
    "pending": JobState.QUEUED,
    "running": JobState.RUNNING,
    "completed": JobState.DONE,
    "failed": JobState.FAILED,
    "cancelled": JobState.CANCELLED,
}
_RAN_TOO_LONG = 1305
"""Reason code with which IBM cancels a job at its limit of execution time."""

_PAGE = 100
_CALIBRATION_KEPT_US = 600 * 1_000_000


class IbmCloudProvider:
    """`backends.provider.Provider` for one backend of one instance. Thread-safe."""

    def __init__(self, description: DeviceDescription, account: IbmAccount) -> None:
        self._description, self._account = description, account
        self._backend = account.api.backend(description.vendor_name)
        self._lock = threading.RLock()
        self._transpiler: Transpiler | None = None
        self._calibration: tuple[int, Calibration] | None = None

    def __repr__(self) -> str:
        return f"IbmCloudProvider({self.name})"

    @property
    def name(self) -> str:
        return self._description.name

    @property
    def honours_tokens(self) -> bool:
        return False

    def status(self) -> DeviceStatus:
        """The backend's health. Raises ProviderUnavailable."""
        answer = self._query(self._backend.status)
        online = answer["operational"] and answer["status_msg"] == "active"
        return DeviceStatus(online, answer["pending_jobs"], answer["status_msg"])

    def calibration(self, now_us: int) -> Calibration:
        """The latest calibration, asked for at most every ten minutes. Raises ProviderUnavailable."""
        with self._lock:
            if self._calibration is None or not 0 <= now_us - self._calibration[0] < _CALIBRATION_KEPT_US:
                fresh = read_calibration(self._query(self._backend.properties))
                if self._calibration is None or fresh.taken_us != self._calibration[1].taken_us:
                    self._transpiler = None  # layouts are chosen by calibration
                self._calibration = (now_us, fresh)
            return self._calibration[1]

    def hardware_use(self, plan: ExecutionPlan) -> tuple[HardwareUse, float]:
        """What a circuit of the plan does to the hardware and its predicted success.

        Raises:
            ProviderUnavailable: the backend could not be asked for its configuration.
            CannotRunError: it is too small.
        """
        transpiled = self._transpiled(plan)
        return transpiled.use, transpiled.success

    def usage(self, plan: ExecutionPlan, use: HardwareUse | None) -> Usage:
        """As the catalog has it, in whole seconds and one at least: IBM takes 0 for no limit of run time."""
        usage = usage_of(plan, self._description, use)
        seconds = max(usage.seconds.to_integral_value(ROUND_CEILING), Decimal(1))
        return usage.model_copy(update={"seconds": seconds})

    def close(self) -> None:
        """Nothing is kept open."""

    def submit(self, plan: ExecutionPlan, token: str) -> str:
        """Buy the plan's shots; IBM ends the job at the run time that the catalog's queue model gives."""
        check_submission(plan, token, self._description)
        with self._lock:
            try:
                transpiled = self._transpiled(plan)
                self._account.authenticate()
            except CannotRunError as error:
                raise SubmitRejected(str(error), permanent=True) from None
            except ProviderUnavailable as error:
                raise SubmitRejected(f"{self.name}: not submitted: {error}") from None
            pubs = [pub_of(plan, transpiled.circuits, transpiled, group) for group in group_rows(plan)]
            try:
                answer = self._account.api.program_run(
                    program_id="sampler",
                    backend_name=self._description.vendor_name,
                    params={"pubs": pubs, "version": 2, "options": {}, "support_qiskit": True},
                    job_tags=[TAG, token],
                    max_execution_time=int(self.usage(plan, None).seconds),
                )
            except (IBMError, ValueError) as error:  # ValueError: an answer that is no JSON
                raise self._account.submission_error(error) from None
        if not isinstance(answer, dict) or not isinstance(answer.get("id"), str):
            raise SubmitUnknown(f"{self.name}: the answer to the submission names no job")
        return answer["id"]

    def find(self, token: str) -> list[str]:
        return [job["id"] for job in self._jobs([token]) if token in job.get("tags", ())]

    def poll(self, job_id: str, price: Price | None = None) -> JobReport:
        state, message = self._state(job_id)
        cost = self._cost_micro_usd(job_id, price) if state.ended else None
        return JobReport(job_id, state, cost, message, counting=state.ended and cost is None)

    def fetch(self, job_id: str, plan: ExecutionPlan) -> Outcome:
        """An ended job's counts; a failed or cancelled one measured nothing."""
        state, _ = self._state(job_id)
        if not state.ended:
            raise ProviderUnavailable(f"{self.name}: job {job_id} is still {state}")
        if state is not JobState.DONE:
            return join_results(plan, [])
        text = self._query(self._account.api.program_job(job_id).results, none_if_missing=True)
        if not text:
            raise ResultMissing(f"{self.name}: job {job_id} is completed and has no result")
        try:
            return join_results(plan, [(group_rows(plan), list(ResultDecoder.decode(text)))])
        except Exception as error:  # whatever the SDK's decoder meets: the result stays where it is
            raise ProviderUnavailable(
                f"{self.name}: the result of job {job_id} cannot be read: {error}"
            ) from None

    def cancel(self, job_id: str) -> JobReport:
        try:
            with self._lock:
                self._account.authenticate()
                self._account.api.program_job(job_id).cancel()
        except IBMError as error:
            if status_of(error) not in (404, 409):  # it is gone, as polling says, or has ended already
                raise self._account.query_error(error) from None
        return self.poll(job_id)

    def bill(self, prices: Mapping[str, Price] = TODAYS) -> list[BillLine]:
        """Our ended jobs on this backend, at their price for the seconds that IBM says they used.

        IBM tells usage, not money; jobs whose usage is still being counted are left out.
        """
        lines = []
        for job in self._jobs([TAG], self._description.vendor_name):
            token = next((tag for tag in job.get("tags", ()) if tag != TAG), None)
            cost = self._cost_micro_usd(job["id"], prices.get(token or ""))
            if cost is not None:
                lines.append(BillLine(job["id"], token, cost, computed=True))
        return lines

    def _jobs(self, tags: list[str], backend: str | None = None) -> list[dict[str, Any]]:
        """Every job once: pages are newest first, so one that is submitted meanwhile shifts them."""
        found: dict[str, dict[str, Any]] = {}
        skip = 0
        while True:
            page = self._query(
                lambda skip=skip: self._account.api.jobs_get(
                    limit=_PAGE, skip=skip, job_tags=tags, backend_name=backend
                )
            )
            found.update((job["id"], job) for job in page["jobs"])
            skip += len(page["jobs"])
            if not page["jobs"] or skip >= page["count"]:
                return list(found.values())

    def _state(self, job_id: str) -> tuple[JobState, str]:
        job = self._account.api.program_job(job_id)
        answer = self._query(lambda: job.get(exclude_params=True), none_if_missing=True)
        if answer is None:
            raise JobGone(f"{self.name}: there is no job {job_id}")
        told = answer["state"]
        state = _STATES.get(str(told["status"]).lower())
        if state is None:
            raise ProviderUnavailable(f"{self.name}: job {job_id} is in the unknown state {told['status']!r}")
        code = told.get("reason_code") or told.get("reasonCode")
        if state is JobState.CANCELLED and code == _RAN_TOO_LONG:
            state = JobState.FAILED
        return state, str(told.get("reason") or "")

    def _cost_micro_usd(self, job_id: str, price: Price | None) -> int | None:
        usage = self._query(self._account.api.program_job(job_id).metadata).get("usage", {})
        seconds = usage.get("qpu_charge_time_seconds")
        if seconds is None or usage.get("status", "pending") == "pending":
            return None
        return (price or self._description.price).cost_micro_usd(Usage(seconds=Decimal(str(seconds))))

    def _transpiled(self, plan: ExecutionPlan) -> Transpiled:
        with self._lock:
            if self._transpiler is None:
                properties = self._query(self._backend.properties)
                target = self._target(properties)
                self._transpiler = Transpiler(self.name, target, read_calibration(properties))
            return self._transpiler.transpile(plan)

    def _target(self, properties: dict[str, Any]) -> Target:
        configuration = configuration_from_server_data(self._query(self._backend.configuration))
        if configuration is None:
            raise ProviderUnavailable(f"{self.name}: its configuration cannot be read")
        return convert_to_target(
            cast(BackendConfiguration, configuration), properties_from_server_data(dict(properties))
        )

    def _query(self, call: Callable[[], Any], *, none_if_missing: bool = False) -> Any:
        """The answer to an API call that changes nothing, None for a 404 where that is an answer.

        Raises:
            ProviderUnavailable: no usable answer.
        """
        try:
            with self._lock:
                self._account.authenticate()
                return call()
        except IBMError as error:
            if none_if_missing and status_of(error) == 404:
                return None
            raise self._account.query_error(error) from None
        except (ValueError, KeyError, TypeError) as error:
            raise ProviderUnavailable(f"{self.name}: no usable answer: {text_of(error)}") from None
