"""The sandbox as a `Provider`, written as a vendor's adapter is: what an answer means, and nothing more.

What a submission's answer is taken for; whatever is not in this table is `SubmitUnknown`:

    no connection, pool exhausted              SubmitRejected             nothing left this machine
    201 with our token among its tags          the job's id
    201 with other tags, or unreadable         SubmitUnknown              accepted, but under which id?
    400 401 402 403 404 405 410 411 413 422    SubmitRejected, permanent  401 402 403: ours; 410: retired
    409 token_reused                           SubmitRejected, permanent  the token bought another plan before
    409 otherwise                              SubmitUnknown              perhaps our own earlier attempt
    425 429                                    SubmitRejected             after Retry-After
    503 device_offline                         SubmitRejected             the service itself says so
    408, other 5xx, 3xx, broken or no answer   SubmitUnknown

Nothing is ever sent twice here: trying again is decided where money is counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import TypeVar

from pydantic import BaseModel, SecretStr, ValidationError

from backends.calibration import Calibration
from backends.catalog.catalog_provider import DeviceStatus
from backends.prices import Price, Usage
from backends.provider import (
    TODAYS,
    BillLine,
    JobGone,
    JobReport,
    ProviderUnavailable,
    ResultMissing,
    SubmitRejected,
    SubmitUnknown,
)
from backends.sandbox.connection import (
    KEY_VARIABLE,
    Answer,
    Connection,
    NoAnswer,
    NotSent,
    Query,
    Timeouts,
    key_from_environment,
)
from backends.sandbox.messages import (
    BillPage,
    CalibrationMessage,
    DeviceDescription,
    JobAnswer,
    JobIds,
    QueueAnswer,
    Receipt,
    Submission,
)
from backends.sandbox.usage import usage_of
from backends.sandbox.wire import OutcomeMessage, PlanMessage
from backends.transpile.success import HardwareUse
from measurement.plan import ExecutionPlan, Outcome

__all__ = ["KEY_VARIABLE", "SandboxProvider", "Timeouts"]

_PERMANENT = frozenset({400, 401, 402, 403, 404, 405, 410, 411, 413, 422})
_OURS = frozenset({401, 402, 403})
_LATER = frozenset({425, 429})

M = TypeVar("M", bound=BaseModel)


class DeviceUnknown(ProviderUnavailable):
    """The sandbox answers that it has no device of that name."""


class SandboxProvider:
    """One device of a sandbox. Synchronous, thread-safe, reuses its connections.

    Args:
        device: its name, as the sandbox knows it.
        url: the sandbox's address.
        honours_tokens: as the sandbox says of the device; `open` asks it.
        key: the API key; SHOTWISE_SANDBOX_KEY by default.
    """

    def __init__(
        self,
        device: str,
        url: str,
        *,
        honours_tokens: bool,
        key: SecretStr | None = None,
        timeouts: Timeouts = Timeouts(),  # noqa: B008 - frozen
    ) -> None:
        self._name, self._honours_tokens = device, honours_tokens
        self._connection = Connection(url, key or key_from_environment(), timeouts)
        self._device_path = f"/v1/devices/{device}"

    @classmethod
    def open(
        cls,
        device: str,
        url: str,
        *,
        key: SecretStr | None = None,
        timeouts: Timeouts = Timeouts(),  # noqa: B008 - frozen
    ) -> SandboxProvider:
        """The device as the sandbox describes it. Raises ProviderUnavailable."""
        provider = cls(device, url, honours_tokens=False, key=key, timeouts=timeouts)
        try:
            provider._honours_tokens = provider.description().honours_tokens
        except BaseException:
            provider.close()
            raise
        return provider

    def __enter__(self) -> SandboxProvider:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"SandboxProvider({self._name!r}, {self._connection.url!r})"

    @property
    def name(self) -> str:
        return self._name

    @property
    def honours_tokens(self) -> bool:
        return self._honours_tokens

    def submit(self, plan: ExecutionPlan, token: str) -> str:
        """See `Provider.submit`."""
        try:
            submission = Submission(token=token, tags=(token,), plan=PlanMessage.of(plan))
        except ValueError as error:
            raise SubmitRejected(f"{self._name}: cannot be sent: {_first(error)}", permanent=True) from None
        try:
            answer = self._connection.send("POST", f"{self._device_path}/jobs", submission)
            if answer.status == 201:
                return self._job_id(answer.read(Receipt), token)
        except NotSent as error:
            raise SubmitRejected(f"{self._name}: not reached: {error}") from None
        except NoAnswer as error:
            raise SubmitUnknown(f"{self._name}: submitted, no usable answer: {error}") from None
        raise self._submission_error(answer)

    def find(self, token: str) -> list[str]:
        """See `Provider.find`; by tag, which works whether the device keeps tokens or not."""
        answer = self._query("GET", f"{self._device_path}/jobs", {"tag": token})
        return list(self._read(answer, JobIds).job_ids)

    def poll(self, job_id: str, price: Price | None = None) -> JobReport:
        """See `Provider.poll`."""
        return self._report(self._query("GET", f"/v1/jobs/{job_id}"), job_id)

    def fetch(self, job_id: str, plan: ExecutionPlan) -> Outcome:
        """See `Provider.fetch`. An outcome that cannot be this plan's is no usable answer."""
        answer = self._query("GET", f"/v1/jobs/{job_id}/result")
        if answer.status == 404 and answer.code == "result_missing":
            raise ResultMissing(f"{self._name}: job {job_id}: {answer}")
        message = self._read(answer, OutcomeMessage)
        if fault := message.fault_against(plan):
            raise ProviderUnavailable(f"{self._name}: job {job_id}: the result has {fault}")
        return message.outcome()

    def cancel(self, job_id: str) -> JobReport:
        """See `Provider.cancel`."""
        return self._report(self._query("POST", f"/v1/jobs/{job_id}/cancel"), job_id)

    def bill(self, prices: Mapping[str, Price] = TODAYS) -> list[BillLine]:
        """See `Provider.bill`; all pages. The sandbox knows what it charged."""
        lines: list[BillLine] = []
        after = 0
        while page := self._bill_page(after).lines:
            if page[-1].line <= after:
                raise ProviderUnavailable(f"{self._name}: the bill repeats itself after line {after}")
            lines += [line.bill_line() for line in page]
            after = page[-1].line
        return lines

    def description(self) -> DeviceDescription:
        """Limits, queue and today's price.

        Raises:
            DeviceUnknown: the sandbox has no such device.
            ProviderUnavailable: no usable answer.
        """
        answer = self._query("GET", self._device_path)
        if answer.status == 404 and answer.code == "device_unknown":
            raise DeviceUnknown(f"{self._name}: the sandbox has no such device")
        return self._read(answer, DeviceDescription)

    def calibration(self, now_us: int = 0) -> Calibration | None:
        """The latest snapshot as published by the sandbox's own clock, None where there is none.

        Raises:
            ProviderUnavailable: no usable answer.
        """
        answer = self._query("GET", f"{self._device_path}/calibration")
        if answer.status == 404 and answer.code == "calibration_missing":
            return None
        return self._read(answer, CalibrationMessage).calibration()

    def status(self) -> DeviceStatus:
        """How many jobs wait. Raises ProviderUnavailable; whether it takes jobs shows when one is sent."""
        return DeviceStatus(online=True, queue_length=self.queue().jobs)

    def queue(self) -> QueueAnswer:
        """How long the queue is. Raises ProviderUnavailable."""
        return self._read(self._query("GET", f"{self._device_path}/queue"), QueueAnswer)

    def hardware_use(self, plan: ExecutionPlan) -> tuple[HardwareUse, float] | None:
        """None: the sandbox compiles itself."""
        return None

    def usage(self, plan: ExecutionPlan, use: HardwareUse | None) -> Usage:
        """By the sandbox's own counts, a task a circuit. Raises ProviderUnavailable."""
        return usage_of(plan, self.description().queue)

    def close(self) -> None:
        """Close idle connections; the provider cannot be used after."""
        self._connection.close()

    def _bill_page(self, after: int) -> BillPage:
        return self._read(self._query("GET", f"{self._device_path}/bill", {"after": after}), BillPage)

    def _job_id(self, receipt: Receipt, token: str) -> str:
        if token not in receipt.tags:
            raise SubmitUnknown(f"{self._name}: submitted, the answer is another job's ({receipt.job_id})")
        return receipt.job_id

    def _submission_error(self, answer: Answer) -> SubmitRejected | SubmitUnknown:
        text = f"{self._name}: {answer}"
        if answer.status in _PERMANENT or answer.code == "token_reused":
            return SubmitRejected(text, permanent=True, ours=answer.status in _OURS)
        if answer.status in _LATER or (answer.status, answer.code) == (503, "device_offline"):
            return SubmitRejected(text, retry_after_s=answer.retry_after_s)
        return SubmitUnknown(text)

    def _query(self, method: str, path: str, query: Query | None = None) -> Answer:
        """A question that changes nothing that costs: any accident means asking again later."""
        try:
            return self._connection.send(method, path, query=query)
        except (NotSent, NoAnswer) as error:
            raise ProviderUnavailable(f"{self._name}: {error}") from None

    def _read(self, answer: Answer, message: type[M]) -> M:
        if answer.status != 200:
            raise ProviderUnavailable(f"{self._name}: {answer}")
        try:
            return answer.read(message)
        except NoAnswer as error:
            raise ProviderUnavailable(f"{self._name}: {error}") from None

    def _report(self, answer: Answer, job_id: str) -> JobReport:
        if answer.status == 404 and answer.code == "job_unknown":
            raise JobGone(f"{self._name}: there is no job {job_id}")
        report = self._read(answer, JobAnswer).report()
        if report.job_id != job_id:
            raise ProviderUnavailable(f"{self._name}: asked for job {job_id}, answered for {report.job_id}")
        return report


def _first(error: ValueError) -> str:
    """What is wrong, of several things the first."""
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
