"""What a crash or a cancellation must not leave behind: jobs out, money held."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from backends.catalog import load_catalog
from backends.catalog.local_provider import LocalProvider
from backends.fleet import Fleet
from backends.prices import Price
from backends.provider import JobReport, ProviderUnavailable
from ledger import (
    Amount,
    JobPhase,
    Journal,
    Ledger,
    Submissions,
    jobs_of,
)
from shotwise.errors import CannotRunError, RunEndedError
from tasks.attempt import Attempt
from tasks.cancelling import cancel, settle_in_flight
from tasks.driving import StopAsked
from tasks.durable import Buyer
from tasks.patience import UnresolvedJobError
from tasks.purchase import open_buyer
from tasks.reconcile import DifferenceKind, reconcile
from tasks.routing import started_purchases
from tests.unit.tasks.by_hand import MANILA, NAIROBI, QUICK, Run, fail_fetching, left_elsewhere


def test_a_run_whose_final_evaluation_was_begun_goes_on_with_that(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(journal)
    assert not started_purchases(run.buyer, run.state.iteration).final
    run.die_while_out(monkeypatch, final=True)
    run.drive()
    assert started_purchases(run.buyer, run.state.iteration).final
    run.buy(final=True)
    assert all(job.state is JobPhase.DONE for job in run.jobs)
    assert run.held == Amount()


def test_a_run_whose_calibration_is_out_is_gone_on_with_whatever_the_budget(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(journal, mitigation=["readout"])
    run.die_while_out(monkeypatch)
    (calibration,) = run.jobs
    assert not calibration.batch_id.final
    spent = Ledger(journal.database).balance(run.account).held.micro_usd
    Ledger(journal.database).set_limit(run.account, micro_usd=spent)
    run.drive()
    assert not started_purchases(run.buyer, run.state.iteration).final
    assert started_purchases(run.buyer, run.state.iteration).step, "so its budget is not asked about"


@pytest.mark.parametrize("final", [False, True])
def test_a_run_is_cancelled_while_a_readout_calibration_is_out(
    journal: Journal, monkeypatch: pytest.MonkeyPatch, final: bool
) -> None:
    run = Run(journal, mitigation=["readout"])
    run.die_while_out(monkeypatch, final=final)
    (calibration,) = run.jobs
    assert calibration.batch_id.final == final
    assert cancel(journal, run.run_id) == "cancelled"
    assert run.held == Amount()
    assert all(job.state.ended for job in run.jobs)


def test_a_cancelled_scan_ends_the_point_that_was_left(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    point = Run(journal)
    scan = Run(journal)
    with journal.database.write() as connection:
        connection.exec_driver_sql("UPDATE runs SET parent = ? WHERE run_id = ?", (scan.run_id, point.run_id))
    point.die_while_out(monkeypatch)
    scan.interrupt()
    assert not Submissions(journal.database).is_cancelled(point.run_id)
    assert cancel(journal, scan.run_id) == "cancelled"
    assert Submissions(journal.database).is_cancelled(point.run_id), "its driver would hear of it"
    assert journal.run(point.run_id).state == "cancelled"
    assert point.held == Amount()


def test_a_run_that_ended_is_not_driven_any_more(journal: Journal) -> None:
    run = Run(journal)
    run.lease.finish(state="completed", reason=None, result_json="{}")
    with pytest.raises(RunEndedError):
        journal.acquire(run.run_id)
    assert journal.run(run.run_id).result_json == "{}"


def test_what_a_failed_run_left_is_reported_and_can_be_cancelled(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(journal)
    run.die_while_out(monkeypatch)
    run.lease = journal.acquire(run.run_id)
    run.lease.finish(state="failed", reason="kills_its_drivers", result_json=None)
    (token,) = [job.token for job in run.jobs]

    def differences() -> list[DifferenceKind]:
        assert run.prepared.fleet is not None
        return [d.kind for d in reconcile(journal.database, run.prepared.fleet.provider) if d.token == token]

    assert differences() == [DifferenceKind.LEFT_BEHIND]
    assert cancel(journal, run.run_id) == "cancelled"
    assert differences() == []
    run_two = Run(journal)
    run_two.lease.finish(state="failed", reason=None, result_json=None)
    with pytest.raises(CannotRunError, match="has failed"):
        cancel(journal, run_two.run_id)


def test_a_batch_that_went_elsewhere_is_cancelled_there(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = left_elsewhere(journal, monkeypatch)
    assert cancel(journal, run.run_id) == "cancelled"
    assert run.held == Amount()


def test_what_a_completed_run_left_is_ended_and_its_result_stays(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(journal)
    run.die_while_out(monkeypatch)
    journal.acquire(run.run_id).finish(state="completed", reason="converged", result_json='{"energy": -1}')
    assert cancel(journal, run.run_id) == "completed"
    assert run.held == Amount()
    record = journal.run(run.run_id)
    assert (record.state, record.reason, record.result_json) == ("completed", "converged", '{"energy": -1}')
    with pytest.raises(CannotRunError, match="has completed"):
        cancel(journal, run.run_id)


def test_a_calibration_is_gone_on_with_whatever_would_be_chosen_now(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(journal, mitigation=["readout"])
    run.die_while_out(monkeypatch)
    run.drive()
    with monkeypatch.context() as patched:
        patched.setattr("tasks.treatment.choice", lambda *_: (None, "nothing pays now"))
        assert run.buy().mitigated
    assert run.held == Amount()


def test_a_cancelled_probe_does_not_keep_the_next_one_away(journal: Journal, tmp_path: Path) -> None:
    from tasks.calibrate import probe_device

    fleet = Fleet((MANILA,), tmp_path / "jobs")
    asleep = replace(QUICK, unavailable_s=0.0)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("tasks.calibrate._RETRY_POLICY", asleep)
        patched.setattr(Attempt, "_await", lambda *_: (_ for _ in ()).throw(StopAsked()))
        with pytest.raises(StopAsked):
            probe_device(journal.database, fleet, MANILA, shots=100)
    (left,) = journal.all_runs()
    assert left.state == "interrupted"
    assert cancel(journal, left.run_id) == "cancelled"
    assert all(job.state.ended for job in jobs_of(journal.database))
    assert probe_device(journal.database, fleet, MANILA, shots=100)[0].verdict == "good"
    fleet.close()


def test_a_cancellation_that_dies_takes_no_result(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(journal)
    run.die_while_out(monkeypatch)
    journal.acquire(run.run_id).finish(state="completed", reason="converged", result_json="{}")
    journal.acquire(run.run_id, ended=True, lease_s=0.0)
    assert journal.run(run.run_id).state == "completed"
    assert cancel(journal, run.run_id) == "completed"
    assert journal.run(run.run_id).result_json == "{}"
    assert run.held == Amount()


def test_a_cancelled_job_that_was_the_last_attempt_ends_the_run_as_cancelled(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(journal)
    run.die_while_out(monkeypatch)
    with monkeypatch.context() as patched:
        fail_fetching(patched, MANILA)
        patched.setattr("tasks.retries.RetryPolicy.attempts_max", 1)
        assert cancel(journal, run.run_id) == "cancelled"
    assert run.held == Amount()


def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cancellation that takes half a second's silence for silence."""
    monkeypatch.setattr("tasks.cancelling.Buyer", partial(Buyer, retry_policy=QUICK))
    monkeypatch.setattr(
        "tasks.cancelling.open_buyer", lambda *a, **k: replace(opened(*a, **k), retry_policy=QUICK)
    )


def opened(*args: Any, **options: Any) -> Buyer:
    buyer = open_buyer(*args, **options)
    assert buyer is not None
    return buyer


def test_a_run_ends_although_a_device_that_it_names_is_gone(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(journal, policy="cheapest", devices=[MANILA, NAIROBI])
    run.die_while_out(monkeypatch)
    known = load_catalog()
    monkeypatch.setattr("backends.fleet.load_catalog", lambda: {MANILA: known[MANILA]})
    monkeypatch.setattr("tasks.cancelling.prepare", _gone)
    assert cancel(journal, run.run_id) == "cancelled"
    assert run.held == Amount()


def _gone(_: object) -> None:
    raise CannotRunError("execution.devices", NAIROBI, "no such device", "use one of those there are")


def test_a_run_ends_although_a_result_that_nobody_wants_cannot_be_read(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(journal)
    run.die_while_out(monkeypatch)

    def unreadable(*_: object) -> None:
        raise ProviderUnavailable("the result cannot be read")

    monkeypatch.setattr(LocalProvider, "fetch", unreadable)
    impatient(monkeypatch)
    assert cancel(journal, run.run_id) == "cancelled"
    assert run.held == Amount()


def test_what_is_only_ended_needs_no_slot(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(journal)
    run.die_while_out(monkeypatch)
    run.drive()

    def asked_to_stop(_: str) -> None:
        raise StopAsked

    settle_in_flight(run.prepared, replace(run.buyer, hold=asked_to_stop), run.state)
    assert run.held == Amount()
    assert all(job.state.ended for job in run.jobs)


def test_a_job_that_cannot_be_ended_keeps_no_other_from_it(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(journal, policy="ensemble", devices=[MANILA, NAIROBI])
    run.die_while_out(monkeypatch)
    assert len(run.jobs) == 2
    poll = LocalProvider.poll

    def silent(provider: LocalProvider, job_id: str, price: Price | None = None) -> JobReport:
        if provider.name == run.jobs[0].device:
            raise ProviderUnavailable("gateway timeout")
        return poll(provider, job_id, price)

    impatient(monkeypatch)
    with monkeypatch.context() as patched:
        patched.setattr(LocalProvider, "poll", silent)
        with pytest.raises(UnresolvedJobError):
            cancel(journal, run.run_id)
    assert [job.state.ended for job in run.jobs] == [False, True]
    assert cancel(journal, run.run_id) == "cancelled"
    assert run.held == Amount()
