"""Why a run failed, in words of its own; and what earlier versions entered instead, read as these words.

Errors are known by name: earlier versions entered that name, and none of their packages is imported for it.
"""

from __future__ import annotations

from enum import StrEnum


class FailureReason(StrEnum):
    """The journal's reason of a run that failed, or that its database left interrupted."""

    SPEC_REFUSED = "spec_refused"
    """What was asked for cannot be meant, as where a file that it names has changed."""
    CANNOT_RUN = "cannot_run_here"
    """Too large for this machine, no such device, no credentials."""
    OVER_BUDGET = "over_budget"
    """A limit left too little for the first step."""
    DEVICE_GAVE_UP = "device_gave_up"
    """No device is left that takes its circuits."""
    NO_ANSWER = "no_answer"
    """A provider was asked for long, and what it bought is not known."""
    PROVIDER_FAILED = "provider_failed"
    """A provider answered what cannot be, or lost a job or its result."""
    TAKEN_OVER = "taken_over"
    """Another process drives it."""
    DATABASE_FAILED = "database_failed"
    """The journal could not be written or read."""
    BOOKS_DISAGREE = "books_disagree"
    """The ledger holds something else of a purchase."""
    CANNOT_GO_ON = "cannot_go_on"
    """What is kept of it cannot be gone on with, or a part of it failed."""
    KILLS_ITS_DRIVERS = "kills_its_drivers"
    """Its process was gone again and again without an iteration."""
    UNEXPECTED = "unexpected_error"
    """None of these: the log and Prefect have the traceback."""


_REASONS = {
    "SpecError": FailureReason.SPEC_REFUSED,
    "CannotRunError": FailureReason.CANNOT_RUN,
    "RunEndedError": FailureReason.TAKEN_OVER,
    "RunBusyError": FailureReason.TAKEN_OVER,
    "LeaseLostError": FailureReason.TAKEN_OVER,
    "NoRoomError": FailureReason.OVER_BUDGET,
    "BudgetExceededError": FailureReason.OVER_BUDGET,
    "LimitTooLowError": FailureReason.OVER_BUDGET,
    "DeviceGaveUpError": FailureReason.DEVICE_GAVE_UP,
    "UnreachableError": FailureReason.NO_ANSWER,
    "UnresolvedJobError": FailureReason.NO_ANSWER,
    "ProviderUnavailable": FailureReason.NO_ANSWER,
    "SubmitUnknown": FailureReason.NO_ANSWER,
    "ProviderError": FailureReason.PROVIDER_FAILED,
    "SubmitRejected": FailureReason.PROVIDER_FAILED,
    "JobGone": FailureReason.PROVIDER_FAILED,
    "ResultMissing": FailureReason.PROVIDER_FAILED,
    "StorageError": FailureReason.DATABASE_FAILED,
    "ReservationError": FailureReason.BOOKS_DISAGREE,
    "NothingMoreIsBoughtError": FailureReason.CANNOT_GO_ON,
    "RunFailedError": FailureReason.CANNOT_GO_ON,
    "ShotwiseError": FailureReason.UNEXPECTED,
}


def reason_of_failure(error: Exception) -> FailureReason:
    """The reason to enter for an exception that ended a run."""
    names = (kind.__name__ for kind in type(error).__mro__)
    return next((_REASONS[name] for name in names if name in _REASONS), FailureReason.UNEXPECTED)


def reason_as_told(reason: str | None) -> str | None:
    """A reason of the journal as it is shown: earlier versions entered the names of exceptions.

    What is unknown here, as of a later version, stays as it is.
    """
    return reason if reason is None else _REASONS.get(reason, reason)
