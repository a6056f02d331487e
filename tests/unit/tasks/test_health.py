"""What the journal says of devices: counted, shown, and obeyed as a refusal."""

from pathlib import Path

import pytest

from backends.dispatch import RoutingRequest
from ledger import Amount, Database, DeviceHistory, JobBook, JobKey, JobPhase, Journal, Ledger, NewRun
from shotwise.errors import CannotRunError
from shotwise.spec import validate
from tasks.device_list import device_rows
from tasks.evaluate import plan_iteration
from tasks.health import FAILURES_MAX, PAUSE_LONGEST_S, PAUSE_S, breaker_reason, recent, unhealthy_devices
from tasks.planner import plan_run
from tasks.prepare import prepare
from tasks.routing import check_can_start, decide, excluded_devices
from tasks.state import initial

NOW_US = 10**15


@pytest.fixture
def book(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> JobBook:
    monkeypatch.setenv("SHOTWISE_HOME", str(tmp_path))
    journal = Journal(Database(f"sqlite:///{tmp_path / 'shotwise.db'}"))
    run_id = journal.create_run(
        NewRun(name="r", kind="x", spec_json="{}", problem_sha256="", versions_json="{}")
    )
    Ledger(journal.database).open_account(f"t/p/{run_id}")
    return JobBook(journal.acquire(run_id), f"t/p/{run_id}")


def enter(book: JobBook, device: str, *phases: JobPhase) -> None:
    """Jobs of a device, in order, each left in its phase."""
    before = sum(1 for _ in book.attempts(0, 0))
    for attempt, phase in enumerate(phases, before):
        key = JobKey(book.lease.run_id, 0, 0, attempt)
        book.intend(key, device=device, reserved=Amount(10, 5))
        match phase:
            case JobPhase.DONE:
                book.mark_submitted(key, "job")
                book.mark_done(key, b"counts", Amount(10, 5))
            case JobPhase.UNKNOWN:
                book.mark_unknown(key, "lost")
            case JobPhase.FAILED | JobPhase.CANCELLED:
                book.mark_ended(key, phase, Amount(), "why")


def test_a_history_counts_ends_and_the_failures_since_the_last_success(book: JobBook) -> None:
    done, failed = JobPhase.DONE, JobPhase.FAILED
    enter(book, "jax", failed, done, failed, JobPhase.CANCELLED, failed, JobPhase.UNKNOWN, JobPhase.INTENT)
    told = recent(book.lease.database, ["jax", "lightning"])
    history = told["jax"]
    assert (history.done, history.failed, history.unknown, history.waiting) == (1, 3, 1, 1)
    assert history.failures_in_a_row == 2
    assert told["lightning"] == DeviceHistory("lightning")


def test_the_breaker_opens_for_longer_with_every_failure_and_lets_one_batch_try() -> None:
    def after(failures: int, seconds: float) -> str | None:
        failed_us = NOW_US - round(seconds * 1e6)
        return breaker_reason(DeviceHistory("d", failures_in_a_row=failures, failed_us=failed_us), NOW_US)

    assert after(FAILURES_MAX - 1, 1) is None
    assert "its last 3 jobs failed" in (after(FAILURES_MAX, 1) or "")
    assert after(FAILURES_MAX, PAUSE_S + 1) is None
    assert after(FAILURES_MAX + 1, PAUSE_S + 1) is not None
    assert after(1000, PAUSE_LONGEST_S + 1) is None
    assert after(FAILURES_MAX, -3600) is None, "a failure in the future is a clock's, not the device's"


def routed(*devices: str, policy: str | None = "balanced"):
    where = {"policy": policy, "devices": list(devices)} if policy else {"device": devices[0]}
    return prepare(
        validate(
            {
                "problem": {"kind": "pauli", "terms": {"ZI": 1.0, "XX": 0.5}},
                "ansatz": {"kind": "hardware_efficient", "layers": 1},
                "execution": {"mode": "shots", "shots": 100, **where},
            }
        )
    )


def test_a_device_that_keeps_failing_is_shown_and_not_routed_to(book: JobBook) -> None:
    enter(book, "jax", *[JobPhase.FAILED] * 3)
    database = book.lease.database
    (row,) = [row for row in device_rows(database) if row["name"] == "jax"]
    assert row["jobs_failed"] == row["failures_in_a_row"] == 3
    assert row["health"].startswith("its last 3 jobs failed")
    prepared = routed("jax", "lightning")
    without = excluded_devices(prepared, database)
    assert list(without) == list(unhealthy_devices(database, ["jax"])) == ["jax"]
    plan = plan_iteration(prepared, initial(prepared))
    decision = decide(prepared, plan, RoutingRequest(), without)
    assert decision.devices == ("lightning",)
    (lost,) = [v for v in decision.candidates if v.candidate.device == "jax"]
    assert lost.reason.startswith("its last 3 jobs failed")
    planned = plan_run(prepared, without=without)
    assert planned.decision is not None
    assert planned.decision.devices == ("lightning",)
    enter(book, "jax", JobPhase.DONE)
    assert excluded_devices(prepared, database) == {}


def test_where_nothing_else_is_left_the_run_says_why_before_it_starts(book: JobBook) -> None:
    enter(book, "jax", *[JobPhase.FAILED] * 3)
    with pytest.raises(CannotRunError, match="its last 3 jobs failed"):
        check_can_start(routed("jax"), Ledger(book.lease.database))
