"""Submissions, cancellations and quarantines, the same on SQLite and PostgreSQL."""

import time
from dataclasses import replace

from ledger import Database, DeviceHealth, IterationRecord, Journal, NewRun, Probe, Submissions, now_us


def enter(database: Database, *, flow_run_id: str | None = None) -> str:
    return Submissions(database).enter(
        NewRun(name="h2", kind="molecule", spec_json="{}", problem_sha256="", versions_json="{}"),
        deployment="vqe/on-demand",
        queue="critical",
        flow_run_id=flow_run_id,
    )


def test_a_submitted_run_is_the_teams_until_it_ends(database: Database) -> None:
    journal, submissions = Journal(database), Submissions(database)
    journal.create_run(
        NewRun(name="mine", kind="molecule", spec_json="{}", problem_sha256="", versions_json="{}")
    )
    run_id = enter(database)
    (found,) = submissions.unfinished()
    assert (found.run_id, found.state, found.queue, found.cancelled) == (run_id, "created", "critical", False)
    assert not journal.is_driven(run_id)
    lease = journal.acquire(run_id)
    assert journal.is_driven(run_id)
    lease.finish(state="completed", reason=None, result_json=None)
    assert submissions.unfinished() == []
    assert submissions.find(run_id) is not None


def test_a_flow_run_gets_one_run_however_often_it_asks(database: Database) -> None:
    first = enter(database, flow_run_id="a")
    assert enter(database, flow_run_id="a") == first
    assert enter(database, flow_run_id="b") != first
    assert Submissions(database).of_flow_run("a") == first
    assert Submissions(database).of_flow_run("c") is None


def test_drives_that_died_without_an_iteration_are_counted(database: Database) -> None:
    journal, submissions = Journal(database), Submissions(database)
    run_id = enter(database)
    for drive in range(1, 4):
        journal.acquire(run_id, lease_s=0.0)
        assert submissions.find(run_id).idle_drives == drive  # pyright: ignore[reportOptionalMemberAccess]
        time.sleep(0.001)
    lease = journal.acquire(run_id)
    lease.finish(state="interrupted", reason=None, result_json=None)
    assert submissions.find(run_id).idle_drives == 3, (
        "one that ended in order, as a worker was moved, is none"
    )  # pyright: ignore[reportOptionalMemberAccess]
    lease = journal.acquire(run_id)
    record = IterationRecord(0, now_us() + 1, -1.0, 0.0, None, None, 1, 0, 0, b"")
    lease.commit([record], iteration=1, state=b"", active_us=0)
    assert submissions.find(run_id).idle_drives == 0  # pyright: ignore[reportOptionalMemberAccess]


def test_asking_to_cancel_twice_is_asking_once(database: Database) -> None:
    submissions = Submissions(database)
    run_id = enter(database)
    assert not submissions.is_cancelled(run_id)
    submissions.ask_to_cancel(run_id)
    submissions.ask_to_cancel(run_id)
    assert submissions.is_cancelled(run_id)
    assert [s.cancelled for s in submissions.unfinished()] == [True]


def test_the_latest_change_says_whether_a_device_is_quarantined(database: Database) -> None:
    health = DeviceHealth(database)
    probe = Probe("a", now_us(), 1000, 0.01, 0.1, "good", "as before")
    health.enter(probe)
    assert health.history("a") == [probe]
    assert health.quarantined() == {}
    health.enter(Probe("a", now_us(), 1000, 0.2, 0.5, "drifting", "readout doubled"), quarantined=True)
    health.set("b", quarantined=True, reason="by hand")
    assert health.quarantined() == {"a": "readout doubled", "b": "by hand"}
    health.enter(probe, quarantined=False)
    assert health.quarantined() == {"b": "by hand"}
    assert [p.verdict for p in health.history("a")] == ["good", "drifting", "good"]
    assert len(health.since_release("a", limit=9)) == 3, "a good probe released it"
    health.set("a", quarantined=False, reason="by hand")
    later = replace(probe, at_us=now_us() + 1)
    health.enter(later)
    assert health.since_release("a", limit=9) == [later]
