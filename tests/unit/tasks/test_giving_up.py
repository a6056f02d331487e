"""Devices that refuse, fail, fall silent or have limits: what was paid stays, the rest goes elsewhere."""

import re
from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest

from backends.catalog import split_plan
from backends.catalog.local_provider import LocalProvider
from backends.provider import ProviderUnavailable, SubmitRejected
from ledger import (
    Amount,
    Currency,
    JobPhase,
    Journal,
    Ledger,
)
from measurement import ExecutionPlan
from tasks.driving import StopAsked
from tasks.durable import DeviceGaveUpError
from tasks.evaluate import plan_iteration
from tasks.routing import decide, predicted_bias, routing_request, uncalibrated_devices
from tasks.treatment import calibration_spent
from tests.unit.tasks.by_hand import (
    MANILA,
    NAIROBI,
    QUICK,
    Run,
    fail_fetching,
    left_elsewhere,
    reading_at_random,
    turned_away_by,
)


def test_the_bias_of_the_devices_that_measured_the_result_is_told(journal: Journal) -> None:
    run = Run(journal, policy="cheapest", devices=[MANILA, NAIROBI])
    assert predicted_bias(journal.database, run.run_id) is None
    run.buy()
    assert predicted_bias(journal.database, run.run_id) is None
    run.buy(final=True)
    final = predicted_bias(journal.database, run.run_id)
    assert final is not None
    assert 1e-3 < final < 1.0


def test_devices_whose_calibration_was_missing_are_told_with_the_result(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(journal, policy="cheapest", devices=[MANILA], allow_bad_calibration=True)
    assert run.prepared.fleet is not None
    monkeypatch.setattr(run.prepared.fleet.provider(MANILA), "calibration", lambda now_us: None)
    run.buy(final=True)
    assert uncalibrated_devices(journal.database, run.run_id) == [MANILA]
    known = predicted_bias(journal.database, run.run_id)
    assert known is not None
    assert known > 0.5


def test_a_device_that_would_take_too_many_jobs_takes_none(journal: Journal) -> None:
    """Neither are they made to find that out."""
    run = Run(journal, usd=None, shots=10**9, devices=[MANILA, "jax"], policy="cheapest")
    fleet = run.prepared.fleet
    assert fleet is not None
    fleet._descriptions[MANILA] = fleet.description(MANILA).model_copy(update={"circuits_max": 1})
    request = routing_request(run.prepared, run.buyer, run.state)
    decision = decide(run.prepared, plan_iteration(run.prepared, run.state), request)
    assert decision.devices == ("jax",)
    (manila,) = [scored for scored in decision.candidates if scored.candidate.device == MANILA]
    assert re.fullmatch(r"would take \d+,\d{3} jobs, more than 1,000", manila.reason)
    fleet.forget(MANILA)


def test_a_request_to_stop_is_obeyed_between_the_jobs_of_a_batch(journal: Journal) -> None:
    run = Run(journal, usd=None, shots=5000)
    fleet = run.prepared.fleet
    assert fleet is not None
    fleet._descriptions[MANILA] = fleet.description(MANILA).model_copy(update={"shots_max": 700})
    fleet._descriptions[MANILA] = fleet.description(MANILA).model_copy(update={"circuits_max": 2})

    def check_stop() -> None:
        if len(run.jobs) == 3:
            raise StopAsked

    steady, run.buyer = run.buyer, replace(run.buyer, check_stop=check_stop)
    with pytest.raises(StopAsked):
        run.buy()
    assert [job.state for job in run.jobs] == [JobPhase.DONE] * 3
    run.buyer = steady
    wanted = plan_iteration(run.prepared, run.state)
    assert run.buy().shots == wanted.shots_total == sum(job.shots for job in run.jobs)
    fleet.forget(MANILA)


def test_a_price_that_changes_in_the_midst_of_a_batch_does_not_change_its_jobs(journal: Journal) -> None:
    """Where rows become circuits of equal shots, how many is a matter of the price."""
    run = Run(journal, usd=None, shots=5000)
    fleet = run.prepared.fleet
    assert fleet is not None
    limits = {"equal_shots": True, "circuits_max": 4}
    device = fleet._descriptions[MANILA] = fleet.description(MANILA).model_copy(update=limits)
    wanted = plan_iteration(run.prepared, run.state)
    planned = split_plan(wanted, device)
    price = device.price.model_copy(update={"per_task_usd": Decimal(0)})
    cheaper = device.model_copy(update={"price": price})
    assert 2 < len(planned) < len(split_plan(wanted, cheaper))

    def check_stop() -> None:
        if len(run.jobs) == 2:
            raise StopAsked

    steady, run.buyer = run.buyer, replace(run.buyer, check_stop=check_stop)
    with pytest.raises(StopAsked):
        run.buy()
    fleet._descriptions[MANILA] = cheaper
    run.buyer = steady
    measured = run.buy()
    assert measured.shots == sum(batch.plan.shots_total for batch in planned) > wanted.shots_total
    assert len(run.jobs) == len(planned)
    ((plan, outcome),) = measured.parts
    assert (outcome.shots >= plan.shots).all()
    fleet.forget(MANILA)


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


def test_a_quota_hit_in_mid_batch_sends_the_rest_elsewhere(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The batch takes several jobs of the first device, which refuses all but the first two of them."""
    run = Run(journal, usd=None, policy="cheapest", devices=[MANILA, NAIROBI])
    fleet = run.prepared.fleet
    assert fleet is not None
    fleet._descriptions[MANILA] = fleet.description(MANILA).model_copy(update={"circuits_max": 2})
    submit, sold = LocalProvider.submit, []

    def with_quota(provider: LocalProvider, plan: ExecutionPlan, token: str) -> str:
        if provider.name == MANILA and len(sold) == 2:
            raise SubmitRejected("quota reached", permanent=True)
        sold.extend([token] * (provider.name == MANILA))
        return submit(provider, plan, token)

    monkeypatch.setattr(LocalProvider, "submit", with_quota)
    measured = run.buy()
    assert len(sold) == 2
    assert measured.shots == plan_iteration(run.prepared, run.state).shots_total
    done = [job for job in run.jobs if job.state is JobPhase.DONE]
    assert [job.device for job in done if job.device == MANILA] == [MANILA] * 2
    assert {job.device for job in done} == {MANILA, NAIROBI}
    assert run.held == Amount()
    jobs = run.jobs
    assert run.buy().shots == measured.shots
    assert run.jobs == jobs, "what the journal has is not bought again"
    fleet.forget(MANILA)


def test_the_jobs_that_a_device_left_are_one_part_elsewhere(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were each a part of its own, a thousand of them would be taken for the final evaluation's."""
    run = Run(journal, usd=None, policy="cheapest", devices=[MANILA, NAIROBI])
    fleet, submit = run.prepared.fleet, LocalProvider.submit
    assert fleet is not None
    for device in (MANILA, NAIROBI):
        one = fleet.description(device).model_copy(update={"circuits_max": 1})
        monkeypatch.setitem(fleet._descriptions, device, one)

    def retired(provider: LocalProvider, plan: ExecutionPlan, token: str) -> str:
        if provider.name == MANILA and any(job.state is JobPhase.DONE for job in run.jobs):
            raise SubmitRejected("retired", permanent=True)
        return submit(provider, plan, token)

    monkeypatch.setattr(LocalProvider, "submit", retired)
    wanted, measured = plan_iteration(run.prepared, run.state), run.buy()
    ((_, outcome),) = measured.parts
    assert [int(outcome.row(row)[1].sum()) for row in range(len(wanted))] == wanted.shots.tolist()
    done = [(job.device, job.batch_id.placement) for job in run.jobs if job.state is JobPhase.DONE]
    assert done == [(MANILA, 0)] + [(NAIROBI, 1)] * (len(wanted) - 1)
    assert len(wanted) > 2
    np.testing.assert_array_equal(run.buy().parts[0][1].counts, outcome.counts)


def test_a_device_that_takes_over_is_calibrated_before_anything_is_bought_on_it(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else one that reads too badly would be paid for counts that cannot be used, in every drive anew."""
    run = Run(journal, usd=6000, policy="cheapest", devices=[MANILA, NAIROBI], mitigation=["readout"])
    submit = LocalProvider.submit

    def retired(provider: LocalProvider, plan: ExecutionPlan, token: str) -> str:
        if provider.name == MANILA and measured:
            raise SubmitRejected("retired", permanent=True)
        return submit(provider, plan, token)

    monkeypatch.setattr(LocalProvider, "submit", retired)
    with monkeypatch.context() as patched:
        measured = reading_at_random(patched, 1)
        with pytest.raises(DeviceGaveUpError, match="inverted"):
            run.buy()
    assert all(job.batch_id.calibration for job in run.jobs if job.state is JobPhase.DONE)
    assert run.held == Amount()
    run.interrupt()
    run.drive()
    assert run.buy().mitigated, "read again, it may do"


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


def test_a_device_that_reads_too_badly_is_left_for_another(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(journal, policy="cheapest", devices=[MANILA, NAIROBI], mitigation=["readout"])
    reading_at_random(monkeypatch, 0)
    measured = run.buy()
    assert measured.mitigated
    kinds = {(job.device, job.batch_id.calibration) for job in run.jobs}
    assert kinds == {(MANILA, True), (NAIROBI, True), (NAIROBI, False)}


def test_a_device_that_failed_in_an_earlier_drive_is_asked_again(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(journal)
    with monkeypatch.context() as patched:
        fail_fetching(patched, MANILA)
        with pytest.raises(DeviceGaveUpError):
            run.buy()
    failed = len(run.jobs)
    run.interrupt()
    run.drive()
    monkeypatch.setattr("tasks.routing.unhealthy_devices", lambda *_: {})  # its pause is over
    assert run.buy().cost_micro_usd == sum(job.cost_micro_usd for job in run.jobs)
    assert [job.state for job in run.jobs].count(JobPhase.FAILED) == failed > 0


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
    run.buyer = replace(run.buyer, retry_policy=replace(QUICK, unavailable_s=60))

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


def test_a_batch_that_went_elsewhere_stays_there_when_the_first_device_is_back(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = left_elsewhere(journal, monkeypatch)
    run.drive()
    assert run.buy().shots > 0
    assert run.held == Amount()
    assert {job.device for job in run.jobs if job.state is JobPhase.DONE} == {NAIROBI}


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
    monkeypatch.setattr("tasks.routing.unhealthy_devices", lambda *_: {})  # its pause is over
    assert run.buy().shots > 0
    assert run.held == Amount()
