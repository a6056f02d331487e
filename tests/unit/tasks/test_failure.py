"""A run that failed says why in words, not by the name of an exception."""

from collections.abc import Iterator

import pytest

import tasks.purchase  # noqa: F401 - with it, every error that can end a run is known
from backends.provider import ProviderUnavailable
from flows.run_lifecycle import _enter_failure
from ledger import BudgetExceededError, Currency, Journal, NewRun, StorageError
from shotwise.errors import CannotRunError, LeaseLostError, RunFailedError, ShotwiseError, SpecError
from tasks.durable import DeviceGaveUpError
from tasks.failure import FailureReason, reason_of_failure
from tasks.patience import UnresolvedJobError


@pytest.mark.parametrize(
    ("error", "state", "reason"),
    [
        (SpecError("problem", 1, "is none", "write another"), "failed", "spec_refused"),
        (CannotRunError("problem", 1, "is too large", "use a smaller one"), "failed", "cannot_run_here"),
        (BudgetExceededError("lab", Currency.SHOTS, 2, 1), "failed", "over_budget"),
        (DeviceGaveUpError("garnet", "failed 6 times"), "failed", "device_gave_up"),
        (UnresolvedJobError("garnet: HTTP 500"), "failed", "no_answer"),
        (ProviderUnavailable("HTTP 500"), "failed", "no_answer"),
        (LeaseLostError("taken"), "failed", "taken_over"),
        (RunFailedError("every checkpoint is damaged"), "failed", "cannot_go_on"),
        (StorageError("journal.db", "disk full"), "interrupted", "database_failed"),
        (ZeroDivisionError(), "failed", "unexpected_error"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_the_journal_says_why_a_run_failed(
    journal: Journal, error: Exception, state: str, reason: str
) -> None:
    run_id = journal.create_run(NewRun("run", "pauli", "{}", "", "{}"))
    _enter_failure(journal.acquire(run_id), error)
    record = journal.run(run_id)
    assert (record.state, record.reason) == (state, reason)


def below(kind: type[ShotwiseError]) -> Iterator[type[ShotwiseError]]:
    for each in kind.__subclasses__():
        yield each
        yield from below(each)


@pytest.mark.parametrize("kind", sorted(set(below(ShotwiseError)), key=str), ids=lambda kind: kind.__name__)
def test_no_error_of_ours_is_unexpected(kind: type[ShotwiseError]) -> None:
    assert reason_of_failure(kind.__new__(kind)) is not FailureReason.UNEXPECTED


def test_a_reason_fits_into_its_column() -> None:
    assert max(map(len, FailureReason)) <= 32
