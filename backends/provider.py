"""What a paid, queued, flaky device is to the rest of Shotwise: jobs submitted, found, polled, fetched.

A provider never decides whether to try again and never hides what it does not know. A submission whose
answer was lost may or may not have bought something: that is `SubmitUnknown`, and only the provider's own
answer to `find` ends it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Protocol, runtime_checkable

from backends.prices import Price
from measurement.plan import ExecutionPlan, Outcome
from shotwise.errors import ShotwiseError

TODAYS: Mapping[str, Price] = MappingProxyType({})
"""No earlier prices: a bill at those of today."""


class JobState(StrEnum):
    """A job as its provider sees it."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        return self in (JobState.DONE, JobState.FAILED, JobState.CANCELLED)


@dataclass(frozen=True)
class JobReport:
    """What a provider says of a job.

    Attributes:
        job_id: the provider's.
        state: as of this answer; answers may arrive out of order, and an ended state is never left.
        cost_micro_usd: billed so far; None where the provider does not say.
        counting: the job has ended and its cost is still being counted: asked later, it is said.
        message: the provider's reason for a failure.
    """

    job_id: str
    state: JobState
    cost_micro_usd: int | None = None
    message: str = ""
    counting: bool = False


@dataclass(frozen=True)
class BillLine:
    """One line of a provider's bill.

    Attributes:
        computed: the provider told use, and the cost is its price here.
    """

    job_id: str
    token: str | None
    cost_micro_usd: int
    description: str = ""
    computed: bool = False


class ProviderError(ShotwiseError):
    """A provider did not do what was asked."""


class SubmitRejected(ProviderError):  # noqa: N818 - a verdict, not an accident
    """The provider certainly took nothing: trying again buys nothing twice.

    Attributes:
        retry_after_s: how long the provider asked to wait, None where it did not say.
        permanent: the same submission will be refused again (bad circuit, device gone, no credit).
        ours: not the submission was refused but our account or credentials, which can be put right.
    """

    def __init__(
        self,
        message: str,
        *,
        retry_after_s: float | None = None,
        permanent: bool = False,
        ours: bool = False,
    ) -> None:
        super().__init__(message)
        self.retry_after_s, self.permanent, self.ours = retry_after_s, permanent, ours


class SubmitUnknown(ProviderError):  # noqa: N818
    """The provider may or may not have taken the job: a timeout, a lost reply, a late server error."""


class ProviderUnavailable(ProviderError):  # noqa: N818
    """A question that changes nothing (poll, fetch, find, cancel) got no usable answer; ask again later."""


class JobGone(ProviderError):  # noqa: N818
    """The provider took the job and knows none of its id any more: purged, or of another account."""


class ResultMissing(ProviderError):  # noqa: N818
    """The provider calls the job done and has no result for it."""


@runtime_checkable
class Provider(Protocol):
    """One device of one provider account. Implementations are synchronous and thread-safe."""

    @property
    def name(self) -> str:
        """Device name in the catalog."""
        ...

    @property
    def honours_tokens(self) -> bool:
        """Whether a second submission with the same token returns the first job instead of buying another."""
        ...

    def submit(self, plan: ExecutionPlan, token: str) -> str:
        """Buy the plan's shots under `token` (1 to 64 letters, digits, - or _; a tag too); the job's id.

        Raises:
            SubmitRejected: nothing was bought.
            SubmitUnknown: it may have been.
        """
        ...

    def find(self, token: str) -> list[str]:
        """Ids of all jobs that carry the token. Raises ProviderUnavailable."""
        ...

    def poll(self, job_id: str, price: Price | None = None) -> JobReport:
        """The job's state.

        Args:
            price: when the job was sent, for providers that tell use and not money; None is today's.

        Raises:
            ProviderUnavailable: no usable answer.
            JobGone: there is no such job, although it was taken.
        """
        ...

    def fetch(self, job_id: str, plan: ExecutionPlan) -> Outcome:
        """What an ended job measured, one entry a row of the plan in the plan's qubit order.

        Rows may hold fewer shots than asked, or none: partial results are results.

        Raises:
            ProviderUnavailable: no usable answer, or one that cannot be read here, good as it may be.
            ResultMissing: the job is done and its result does not exist.
        """
        ...

    def cancel(self, job_id: str) -> JobReport:
        """Ask to cancel; the state afterwards, which may be `done` if completion was first.

        Its cost is at today's price; `poll` is for what the job was bought at.

        Raises:
            ProviderUnavailable, JobGone: as `poll`.
        """
        ...

    def bill(self, prices: Mapping[str, Price] = TODAYS) -> list[BillLine]:
        """The provider's own bill of this account and device; a job may have several lines.

        Args:
            prices: of jobs by their token, as they were when these were sent, for providers that tell use
                and not money; others are at today's.

        Raises:
            ProviderUnavailable: no usable answer.
        """
        ...
