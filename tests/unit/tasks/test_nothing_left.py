"""What a crash, a cancellation or a device that gives up must not leave behind: jobs out, money uncounted."""

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from backends.catalog.local_provider import LocalProvider
from backends.fleet import Fleet
from backends.provider import ProviderUnavailable, ResultMissing, SubmitRejected
from ledger import (
    Amount,
    Currency,
    Database,
    JobPhase,
    Journal,
    Lease,
    Ledger,
    NewRun,
    Submissions,
    jobs_of,
)
from shotwise.errors import CannotRunError, RunEndedError
from shotwise.spec import validate
from tasks.batch_numbers import is_final
from tasks.cancelling import cancel
from tasks.driving import StopAsked, where_it_stands
from tasks.durable import Buyer, DeviceGaveUpError
from tasks.evaluate import Measured, plan_iteration
from tasks.patience import Patience
from tasks.prepare import Prepared, prepare
from tasks.purchase import open_buyer, purchase
from tasks.reconcile import DifferenceKind, reconcile
from tasks.result import final_plan
from tasks.routing import final_began, question_of, step_began
from tasks.treatment import calibration_spent

jax.config.update("jax_enable_x64", True)
MANILA, NAIROBI = "sim-manila", "sim-nairobi"
QUICK = Patience(first_s=0.001, longest_s=0.01, unavailable_s=0.5, visible_s=0.1, stuck_s=0.1)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOTWISE_HOME", str(tmp_path))


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    database = Database(f"sqlite:///{tmp_path / 'journal.db'}")
    yield Journal(database)
    database.close()


class Run:
    """A run in the journal, driven by hand."""

    def __init__(self, journal: Journal, usd: float | None = 600, **execution: object) -> None:
        devices = {} if "devices" in execution else {"device": MANILA}
        self.spec = validate(
            {
                "problem": {"kind": "molecule", "geometry": "H 0 0 0; H 0 0 0.7414"},
                "optimizer": {"name": "spsa"},
                "execution": {"mode": "shots", "shots": 2000, **devices, **execution},
                "budget": {"usd": usd},
            }
        )
        self.journal = journal
        self.run_id = journal.create_run(
            NewRun(
                name="run",
                kind="molecule",
                spec_json=self.spec.canonical_json(),
                problem_sha256="",
                versions_json="{}",
            )
        )
        self.account = f"default/default/{self.run_id}"
        self.drive()

    def drive(self) -> None:
        """Become its driver, knowing nothing but the journal."""
        self.lease: Lease = self.journal.acquire(self.run_id)
        prepared = prepare(self.spec)
        opened = open_buyer(prepared, self.lease, hold=lambda _: nullcontext(), sleep=lambda _: None)
        assert opened is not None
        self.buyer = replace(opened, patience=QUICK)
        self.prepared: Prepared
        self.prepared, self.state = where_it_stands(prepared, self.lease)

    def interrupt(self) -> None:
        self.lease.finish(state="interrupted", reason=None, result_json=None)

    def buy(self, *, final: bool = False) -> Measured:
        make = final_plan if final else plan_iteration
        plan = make(self.prepared, self.state)
        question = question_of(self.prepared, self.buyer, self.state)
        return purchase(self.prepared, self.buyer, self.state.iteration, plan, question, final=final)

    def die_while_out(self, monkeypatch: pytest.MonkeyPatch, *, final: bool = False) -> None:
        """The process dies when its first job was just taken by the provider."""

        def die(*_: object) -> None:
            raise StopAsked

        with monkeypatch.context() as patched:
            patched.setattr(Buyer, "_await", die)
            with pytest.raises(StopAsked):
                self.buy(final=final)
        self.interrupt()

    @property
    def jobs(self) -> list:
        return jobs_of(self.journal.database, self.run_id)

    @property
    def held(self) -> Amount:
        return Ledger(self.journal.database).balance(self.account).held


def fail_fetching(monkeypatch: pytest.MonkeyPatch, device: str, *, after: int = 0) -> None:
    """A device that ends its jobs, and bills them, and has no result for any but the first `after`."""
    fetch, served = LocalProvider.fetch, []

    def without_result(self: LocalProvider, job_id: str, plan):
        if self.name != device:
            return fetch(self, job_id, plan)
        if len(served) >= after:
            raise ResultMissing("done and billed, without a result")
        served.append(job_id)
        return fetch(self, job_id, replace(plan, shots=plan.shots // 2))

    monkeypatch.setattr(LocalProvider, "fetch", without_result)


def test_a_row_above_a_devices_limit_is_bought_once(journal: Journal) -> None:
    """Such a row is in its job as several rows of one point and basis."""
    run = Run(journal, usd=None, shots=5000)
    fleet = run.prepared.fleet
    assert fleet is not None
    fleet._descriptions[MANILA] = fleet.description(MANILA).model_copy(update={"shots_max": 700})
    wanted = plan_iteration(run.prepared, run.state)
    assert wanted.shots.max() > 2 * 700
    measured = run.buy()
    assert measured.shots == wanted.shots_total == sum(job.shots for job in run.jobs)
    ((plan, outcome),) = measured.parts
    rows = [int(outcome.row(row)[1].sum()) for row in range(len(plan))]
    assert rows == wanted.shots.tolist()
    fleet.forget(MANILA)


def test_a_run_whose_final_evaluation_was_begun_goes_on_with_that(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(journal)
    assert not final_began(run.buyer, run.state.iteration)
    run.die_while_out(monkeypatch, final=True)
    run.drive()
    assert final_began(run.buyer, run.state.iteration)
    run.buy(final=True)
    assert all(job.state is JobPhase.DONE for job in run.jobs)
    assert run.held == Amount()


def test_a_run_whose_calibration_is_out_is_gone_on_with_whatever_the_budget(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(journal, mitigation=["readout"])
    run.die_while_out(monkeypatch)
    (calibration,) = run.jobs
    assert not is_final(calibration.batch)
    spent = Ledger(journal.database).balance(run.account).held.micro_usd
    Ledger(journal.database).set_limit(run.account, micro_usd=spent)
    run.drive()
    assert not final_began(run.buyer, run.state.iteration)
    assert step_began(run.buyer, run.state.iteration), "so its budget is not asked about"


@pytest.mark.parametrize("final", [False, True])
def test_a_run_is_cancelled_while_a_readout_calibration_is_out(
    journal: Journal, monkeypatch: pytest.MonkeyPatch, final: bool
) -> None:
    run = Run(journal, mitigation=["readout"])
    run.die_while_out(monkeypatch, final=final)
    (calibration,) = run.jobs
    assert is_final(calibration.batch) == final
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


def test_what_a_device_billed_for_nothing_counts(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(journal, policy="cheapest", devices=[MANILA, NAIROBI])
    fail_fetching(monkeypatch, MANILA)
    measured = run.buy()
    assert {job.device for job in run.jobs} == {MANILA, NAIROBI}
    posted = Ledger(journal.database).balance(run.account).posted
    assert posted == Amount(measured.shots, measured.cost_micro_usd)
    of_one = [job.cost_micro_usd for job in run.jobs if job.device == NAIROBI]
    assert posted.micro_usd > sum(of_one)


def test_what_a_device_delivered_before_it_gave_up_is_kept(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(journal, policy="cheapest", devices=[MANILA, NAIROBI])
    fail_fetching(monkeypatch, MANILA, after=1)
    measured = run.buy()
    ((plan, outcome),) = measured.parts
    rows = [int(outcome.row(row)[1].sum()) for row in range(len(plan))]
    assert rows == plan.shots.tolist(), "half from one, the missing half from the other"
    assert measured.shots == plan.shots_total
    again = run.buy()
    np.testing.assert_array_equal(again.parts[0][1].counts, outcome.counts)


def test_a_device_that_will_not_be_calibrated_is_left_for_another(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(journal, policy="cheapest", devices=[MANILA, NAIROBI], mitigation=["readout"])
    fail_fetching(monkeypatch, MANILA)
    measured = run.buy()
    assert measured.mitigated
    assert calibration_spent(journal.database, run.run_id).shots > 0
    again = run.buy()
    assert again.cost_micro_usd == measured.cost_micro_usd, "found again, not bought again"


def test_a_calibration_is_split_to_the_devices_limits(journal: Journal) -> None:
    run = Run(journal, mitigation=["readout"])
    fleet = run.prepared.fleet
    assert fleet is not None
    fleet._descriptions[MANILA] = fleet.description(MANILA).model_copy(update={"shots_max": 1500})
    assert run.buy().mitigated
    fleet.forget(MANILA)


def test_a_provider_that_takes_nothing_now_is_knocked_at_again(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, submit, refused = Run(journal), LocalProvider.submit, []

    def turns_away(self: LocalProvider, plan, token: str) -> str:
        if len(refused) < 2 * QUICK.attempts_max:
            refused.append(token)
            raise SubmitRejected("busy")
        return submit(self, plan, token)

    monkeypatch.setattr(LocalProvider, "submit", turns_away)
    run.buy()
    assert run.held == Amount()


@pytest.mark.parametrize("ours", [False, True])
def test_only_a_refusal_of_the_job_itself_is_remembered(
    journal: Journal, monkeypatch: pytest.MonkeyPatch, ours: bool
) -> None:
    run = Run(journal)
    with monkeypatch.context() as patched:

        def refuses(self: LocalProvider, plan, token: str) -> str:
            raise SubmitRejected("the key has expired" if ours else "retired", permanent=True, ours=ours)

        patched.setattr(LocalProvider, "submit", refuses)
        with pytest.raises(DeviceGaveUpError):
            run.buy()
    run.interrupt()
    run.drive()
    if ours:
        assert run.buy().shots > 0
    else:
        with pytest.raises(DeviceGaveUpError):
            run.buy()


def test_an_unanswered_question_for_the_price_is_asked_again(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(journal)
    fleet = run.prepared.fleet
    assert fleet is not None
    quote, asked = type(fleet).quote_micro_usd, []

    def silent_at_first(self, *args):
        asked.append(args)
        if len(asked) == 1:
            raise ProviderUnavailable("HTTP 500")
        return quote(self, *args)

    monkeypatch.setattr(type(fleet), "quote_micro_usd", silent_at_first)
    assert run.buy().shots > 0


def test_a_limit_that_a_person_changed_stays(journal: Journal) -> None:
    run = Run(journal, usd=5)
    ledger = Ledger(journal.database)
    for usd in (20, 1):
        ledger.set_limit(run.account, micro_usd=usd * 1_000_000)
        run.interrupt()
        run.drive()
        assert ledger.balance(run.account).limit(Currency.MICRO_USD) == usd * 1_000_000


def test_of_two_limits_at_the_opening_the_tighter_one_holds(journal: Journal) -> None:
    ledger = Ledger(journal.database)
    ledger.open_account("a/b/c")
    ledger.set_limit("a/b/c", micro_usd=7, shots=9)
    ledger.open_limited("a/b/c", micro_usd=5, shots=None, note="spec")
    balance = ledger.balance("a/b/c")
    assert (balance.limit_micro_usd, balance.limit_shots) == (5, 9)


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


def turned_away_by(monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    submit = LocalProvider.submit

    def turns_away(self: LocalProvider, plan, token: str) -> str:
        if self.name == device:
            raise SubmitRejected("busy")
        return submit(self, plan, token)

    monkeypatch.setattr(LocalProvider, "submit", turns_away)


def left_elsewhere(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run that turned from a busy device to another one, and died while its job was out there."""
    run = Run(journal, policy="cheapest", devices=[MANILA, NAIROBI])
    with monkeypatch.context() as patched:
        turned_away_by(patched, MANILA)
        run.die_while_out(patched)
    assert [job.device for job in run.jobs if not job.state.ended] == [NAIROBI]
    return run


def test_a_batch_that_went_elsewhere_stays_there_when_the_first_device_is_back(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = left_elsewhere(journal, monkeypatch)
    run.drive()
    assert run.buy().shots > 0
    assert run.held == Amount()
    assert {job.device for job in run.jobs if job.state is JobPhase.DONE} == {NAIROBI}


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
        patched.setattr("tasks.calibrate._PATIENCE", asleep)
        patched.setattr(Buyer, "_await", lambda *_: (_ for _ in ()).throw(StopAsked()))
        with pytest.raises(StopAsked):
            probe_device(journal.database, fleet, MANILA, shots=100)
    (left,) = journal.all_runs()
    assert left.state == "interrupted"
    assert cancel(journal, left.run_id) == "cancelled"
    assert all(job.state.ended for job in jobs_of(journal.database))
    assert probe_device(journal.database, fleet, MANILA, shots=100)[0].verdict == "good"
    fleet.close()


def test_where_the_other_device_fails_too_the_first_is_asked_again_by_the_next_process(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = left_elsewhere(journal, monkeypatch)
    run.drive()
    with monkeypatch.context() as patched:
        turned_away_by(patched, MANILA)
        fail_fetching(patched, NAIROBI)
        with pytest.raises(DeviceGaveUpError):
            run.buy()
    run.interrupt()
    run.drive()
    monkeypatch.setattr("tasks.routing.unfit", lambda *_: {})  # its pause is over
    assert run.buy().shots > 0
    assert run.held == Amount()


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
        patched.setattr("tasks.patience.Patience.attempts_max", 1)
        assert cancel(journal, run.run_id) == "cancelled"
    assert run.held == Amount()
