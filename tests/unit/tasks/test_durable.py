"""Buying a batch under every fault of the fault list: nothing lost, nothing bought twice, books agree."""

import json
import os
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest
from sqlalchemy import select, update

from backends.fleet import SANDBOX_URL, CalibrationPolicy
from backends.jax_device import JaxDevice
from backends.prices import Price
from backends.provider import TODAYS, BillLine
from backends.sandbox import FaultKind, FaultSpec
from backends.sandbox.adapter import SandboxProvider
from backends.sandbox.process import SandboxProcess
from backends.transpile.success import spread_of
from ledger import (
    Amount,
    BudgetExceededError,
    JobKey,
    JobPhase,
    Journal,
    Ledger,
    Refusal,
    ReservationState,
    jobs_of,
)
from ledger.tables import jobs, runs
from measurement import qubit_wise_commuting
from problems import PauliSum
from shotwise.errors import LeaseLostError
from tasks.delivery import Delivery, join_deliveries, undelivered
from tasks.driving import Drive, StopAsked
from tasks.durable import Buyer, DeviceGaveUpError
from tasks.reconcile import DifferenceKind, Discrepancy, reconcile
from tasks.retries import RetryPolicy
from tests.unit.tasks.buying import (
    IDEAL,
    NO_TOKENS,
    again,
    assert_exactly_once,
    assert_same,
    fired,
    fleet,
    plan,
)


@pytest.mark.parametrize(
    "kind",
    [
        FaultKind.SUBMIT_TIMEOUT_BEFORE,
        FaultKind.SUBMIT_TIMEOUT_AFTER,
        FaultKind.SUBMIT_RATE_LIMITED,
        FaultKind.SUBMIT_CONFLICT,
        FaultKind.SUBMIT_ERROR_BEFORE,
        FaultKind.SUBMIT_ERROR_AFTER,
        FaultKind.SUBMIT_REPLY_LOST,
        FaultKind.SUBMIT_DUPLICATE_REPLY,
        FaultKind.SUBMIT_DELIVERED_TWICE,
        FaultKind.SUBMIT_OFFLINE,
        FaultKind.JOB_RESULT_MISSING,
        FaultKind.JOB_OUT_OF_ORDER,
        FaultKind.JOB_STUCK_QUEUED,
        FaultKind.READ_ERROR,
    ],
)
def test_a_batch_arrives_whole_under_every_fault(
    buyer: Buyer, sandbox: SandboxProcess, kind: FaultKind
) -> None:
    if kind is FaultKind.SUBMIT_DUPLICATE_REPLY:
        buyer.buy(99, 0, IDEAL, plan(seed=5))  # a reply that can be delivered again
    sandbox.control().inject(FaultSpec(kind=kind, device=IDEAL, seconds=0.2))
    bought = buyer.buy(0, 0, IDEAL, plan())
    assert fired(sandbox, kind) >= 1
    assert_same(bought.outcome, JaxDevice().sample(plan()))
    assert_exactly_once(buyer)


@pytest.mark.parametrize(
    "kind", [FaultKind.SUBMIT_ERROR_AFTER, FaultKind.SUBMIT_REPLY_LOST, FaultKind.SUBMIT_ACCEPTED_LATE]
)
def test_a_provider_that_ignores_tokens_is_searched_and_never_asked_twice(
    buyer: Buyer, sandbox: SandboxProcess, kind: FaultKind
) -> None:
    sandbox.control().inject(FaultSpec(kind=kind, device=NO_TOKENS, seconds=0.2))
    bought = buyer.buy(0, 0, NO_TOKENS, plan())
    assert fired(sandbox, kind) >= 1
    assert bought.outcome.counts.sum() == 600
    assert_exactly_once(buyer)


@pytest.mark.parametrize("kind", [FaultKind.JOB_PARTIAL, FaultKind.JOB_FAILS])
def test_partial_results_are_kept_and_only_the_missing_shots_bought(
    buyer: Buyer, sandbox: SandboxProcess, kind: FaultKind
) -> None:
    sandbox.control().inject(FaultSpec(kind=kind, device=IDEAL, factor=0.5))
    bought = buyer.buy(0, 0, IDEAL, plan())
    assert fired(sandbox, kind) == 1
    assert bought.outcome.shots.tolist() == [300, 300]
    first, second = jobs_of(buyer.book.lease.database)
    assert 0 < first.shots < 600
    assert first.shots + second.shots == 600 == bought.shots
    assert_exactly_once(buyer)


def test_a_bill_above_the_quote_is_charged_in_full_and_seen(buyer: Buyer, sandbox: SandboxProcess) -> None:
    sandbox.control().inject(FaultSpec(kind=FaultKind.BILL_ABOVE_QUOTE, device=IDEAL, factor=1.5))
    bought = buyer.buy(0, 0, IDEAL, plan())
    assert fired(sandbox, FaultKind.BILL_ABOVE_QUOTE) == 1
    (job,) = jobs_of(buyer.book.lease.database)
    assert bought.cost_micro_usd == job.cost_micro_usd > (job.quote_micro_usd or 0)
    assert_exactly_once(buyer)


def differences_of(buyer: Buyer, *, correct: bool = False) -> list[Discrepancy]:
    """What reconciling finds about the jobs of this test; other tests share the provider and its bill."""
    database = buyer.book.lease.database
    mine = {job.token for job in jobs_of(database)}
    return [d for d in reconcile(database, buyer.fleet.provider, correct=correct) if d.token in mine]


@pytest.mark.parametrize(
    ("factor", "kind"), [("1.2", DifferenceKind.BILL_HIGHER), ("-0.2", DifferenceKind.BILL_LOWER)]
)
def test_late_corrections_of_the_bill_are_reported_and_can_be_entered(
    buyer: Buyer, sandbox: SandboxProcess, factor: str, kind: DifferenceKind
) -> None:
    late = FaultSpec(kind=FaultKind.BILL_LATE_CORRECTION, device=IDEAL, seconds=60, factor=Decimal(factor))
    sandbox.control().inject(late)
    buyer.buy(0, 0, IDEAL, plan())
    (job,) = jobs_of(buyer.book.lease.database)
    assert differences_of(buyer) == []
    sandbox.control().advance(7 * 24 * 3600)
    found = differences_of(buyer)
    assert fired(sandbox, FaultKind.BILL_LATE_CORRECTION) == 1
    assert [d.kind for d in found] == [kind]
    assert found[0].other_micro_usd == job.cost_micro_usd * (1 + Decimal(factor))
    assert differences_of(buyer, correct=True)[0].corrected
    assert differences_of(buyer) == []
    assert Ledger(buyer.book.lease.database).balance("tenant").posted.micro_usd == found[0].other_micro_usd


def test_a_bill_that_comes_back_to_an_earlier_sum_is_followed(buyer: Buyer) -> None:
    """Up, down and up again: each line is a correction of its own, entered once however often it is asked."""
    buyer.buy(0, 0, IDEAL, plan())
    database = buyer.book.lease.database
    (job,) = jobs_of(database)
    lines = [BillLine(job.vendor_job_id or "", job.token, job.cost_micro_usd)]

    class Biller(SandboxProvider):
        def bill(self, prices: Mapping[str, Price] = TODAYS) -> list[BillLine]:
            return lines

    with Biller(IDEAL, os.environ[SANDBOX_URL], honours_tokens=True) as biller:
        for delta in (20, -20, 20, -20):
            lines.append(BillLine(job.vendor_job_id or "", job.token, delta))
            for _ in range(2):
                reconcile(database, lambda _: biller, correct=True)
            assert reconcile(database, lambda _: biller) == []
    assert Ledger(database).find(job.token).spent.micro_usd == job.cost_micro_usd


def test_a_completion_after_the_cancellation_is_billed_and_reported(
    buyer: Buyer, sandbox: SandboxProcess
) -> None:
    sandbox.control().inject(FaultSpec(kind=FaultKind.JOB_STUCK_QUEUED, device=IDEAL))
    late = FaultSpec(kind=FaultKind.COMPLETES_AFTER_CANCEL, device=IDEAL, seconds=3600)
    sandbox.control().inject(late)
    bought = buyer.buy(0, 0, IDEAL, plan())
    sandbox.control().advance(7200)
    assert fired(sandbox, FaultKind.COMPLETES_AFTER_CANCEL) == 1
    void, done = jobs_of(buyer.book.lease.database)
    assert (void.state, void.cost_micro_usd, done.state) == (JobPhase.CANCELLED, 0, JobPhase.DONE)
    found = differences_of(buyer, correct=True)
    assert [(d.kind, d.token) for d in found] == [(DifferenceKind.BILL_HIGHER, void.token)]
    assert found[0].other_micro_usd == bought.cost_micro_usd
    assert differences_of(buyer) == []


def test_a_cancellation_that_comes_after_the_completion_loses_no_result(
    buyer: Buyer, sandbox: SandboxProcess
) -> None:
    for kind in (FaultKind.JOB_STUCK_QUEUED, FaultKind.CANCEL_RACES_COMPLETION):
        sandbox.control().inject(FaultSpec(kind=kind, device=IDEAL))
    buyer.buy(0, 0, IDEAL, plan())
    assert fired(sandbox, FaultKind.CANCEL_RACES_COMPLETION) == 1
    (job,) = jobs_of(buyer.book.lease.database)
    assert job.state is JobPhase.DONE
    assert_exactly_once(buyer)


def test_a_request_that_arrived_twice_where_tokens_are_ignored_is_reported(
    buyer: Buyer, sandbox: SandboxProcess
) -> None:
    sandbox.control().inject(FaultSpec(kind=FaultKind.SUBMIT_DELIVERED_TWICE, device=NO_TOKENS))
    buyer.buy(0, 0, NO_TOKENS, plan())
    assert fired(sandbox, FaultKind.SUBMIT_DELIVERED_TWICE) == 1
    (job,) = jobs_of(buyer.book.lease.database)
    twice = buyer.fleet.provider(NO_TOKENS).find(job.token)
    assert len(twice) == 2
    found = [
        d
        for d in reconcile(buyer.book.lease.database, buyer.fleet.provider)
        if set(twice) & set(d.note.split(", "))
    ]
    assert [d.kind for d in found] in ([DifferenceKind.BOUGHT_TWICE], [DifferenceKind.NOT_IN_JOURNAL])


@pytest.mark.parametrize(
    ("kind", "refusal", "asked"),
    [(FaultKind.SUBMIT_GONE, Refusal.FOR_GOOD, 1), (FaultKind.SUBMIT_QUOTA, Refusal.FOR_NOW, 2)],
)
def test_a_device_that_refuses_is_given_up_and_asked_again_only_where_that_can_pass(
    buyer: Buyer, sandbox: SandboxProcess, kind: FaultKind, refusal: Refusal, asked: int
) -> None:
    sandbox.control().inject(FaultSpec(kind=kind, device=IDEAL, times=None))
    for process in (buyer, again(buyer)):
        with pytest.raises(DeviceGaveUpError):
            process.buy(0, 0, IDEAL, plan())
    balance = Ledger(buyer.book.lease.database).balance("tenant")
    assert (balance.held, balance.posted) == (Amount(), Amount())
    assert [job.refusal for job in jobs_of(buyer.book.lease.database)] == [refusal] * asked


def test_another_plan_is_not_refused_for_what_the_first_one_was(
    buyer: Buyer, sandbox: SandboxProcess
) -> None:
    """A catalog put right cuts the same batch into jobs that the device takes."""
    sandbox.control().inject(FaultSpec(kind=FaultKind.SUBMIT_GONE, device=IDEAL))
    with pytest.raises(DeviceGaveUpError):
        buyer.buy(0, 0, IDEAL, plan(shots=400))
    assert again(buyer).buy(0, 0, IDEAL, plan()).shots == 600
    assert_exactly_once(buyer)


def test_a_job_that_was_sent_but_not_entered_is_found_and_not_bought_again(buyer: Buyer) -> None:
    key = JobKey(buyer.book.lease.run_id, 0, 0)
    for device, batch in ((IDEAL, 0), (NO_TOKENS, 1)):
        key = replace(key, batch=batch)
        buyer.book.intend(
            key, device=device, reserved=Amount(600, buyer.fleet.quote_micro_usd(device, plan()))
        )
        sent = buyer.fleet.provider(device).submit(plan(), key.token)  # and here the process dies
        again(buyer).buy(0, batch, device, plan())
        assert [j.vendor_job_id for j in jobs_of(buyer.book.lease.database) if j.batch == batch] == [sent]
    assert_exactly_once(buyer)


def test_an_intent_that_was_never_sent_is_sent_under_its_own_token(buyer: Buyer) -> None:
    for batch, device in enumerate((IDEAL, NO_TOKENS)):
        key = JobKey(buyer.book.lease.run_id, 0, batch)
        buyer.book.intend(
            key, device=device, reserved=Amount(600, buyer.fleet.quote_micro_usd(device, plan()))
        )
        assert again(buyer).buy(0, batch, device, plan()).outcome.counts.sum() == 600
    assert_exactly_once(buyer)


def test_a_driver_that_slept_before_it_submitted_where_tokens_are_ignored_is_reported(buyer: Buyer) -> None:
    """No provider's help, no fence: what it buys after it was given up is on the bill, and said."""
    key = JobKey(buyer.book.lease.run_id, 0, 0)
    reserved = Amount(600, buyer.fleet.quote_micro_usd(NO_TOKENS, plan()))
    buyer.book.intend(key, device=NO_TOKENS, reserved=reserved)  # and here the driver is stopped
    again(buyer).buy(0, 0, NO_TOKENS, plan())
    late = buyer.fleet.provider(NO_TOKENS).submit(plan(), key.token)  # and here it wakes
    found = reconcile(buyer.book.lease.database, buyer.fleet.provider)
    kinds = {d.kind for d in found if late in d.note or d.token == key.token}
    assert kinds & {DifferenceKind.NOT_IN_JOURNAL, DifferenceKind.BILL_HIGHER}


def test_a_batch_that_is_done_costs_nothing_to_ask_for_again(buyer: Buyer) -> None:
    first = buyer.buy(0, 0, IDEAL, plan())
    second = again(buyer).buy(0, 0, IDEAL, plan())
    assert_same(second.outcome, first.outcome)
    assert len(jobs_of(buyer.book.lease.database)) == 1


def test_what_the_budget_has_no_room_for_is_not_even_intended(buyer: Buyer) -> None:
    Ledger(buyer.book.lease.database).set_limit("tenant", micro_usd=1_000_000)
    with pytest.raises(BudgetExceededError):
        buyer.buy(0, 0, IDEAL, plan())
    assert jobs_of(buyer.book.lease.database) == []


def test_a_job_keeps_the_calibration_that_it_ran_under(buyer: Buyer) -> None:
    buyer.buy(0, 0, NO_TOKENS, plan())
    with buyer.book.lease.database.read() as connection:
        (kept,) = connection.execute(select(jobs.c.calibration_json)).scalars()
    told = buyer.fleet.calibration(NO_TOKENS)
    assert told is not None
    assert json.loads(kept)["readout_error"] == list(told.readout_error)


def test_a_job_waits_for_its_accounts_turn_before_it_is_sent(buyer: Buyer) -> None:
    class SleptError(Exception):
        pass

    def sleep(seconds: float) -> None:
        raise SleptError(seconds)

    limited = buyer.fleet.description(IDEAL).model_copy(update={"submits_per_minute_max": 1.0})
    buyer.fleet._descriptions[IDEAL] = limited
    buyer.buy(0, 0, IDEAL, plan())
    with pytest.raises(SleptError):
        replace(buyer, sleep=sleep).buy(0, 1, IDEAL, plan(2))
    (_, waiting) = jobs_of(buyer.book.lease.database)
    assert waiting.state is JobPhase.INTENT
    assert buyer.fleet.provider(IDEAL).find(waiting.token) == []


def test_a_stale_driver_buys_nothing(buyer: Buyer) -> None:
    lease = buyer.book.lease
    with lease.database.write() as connection:
        connection.execute(update(runs).values(lease_until_us=1))
    Journal(lease.database).acquire(lease.run_id)
    with pytest.raises(LeaseLostError):
        buyer.buy(0, 0, IDEAL, plan())
    assert jobs_of(lease.database) == []


def test_a_sandbox_killed_in_the_middle_is_waited_for(buyer: Buyer, sandbox: SandboxProcess) -> None:
    def restart() -> None:
        time.sleep(0.5)
        sandbox.start()

    key = JobKey(buyer.book.lease.run_id, 0, 0)
    buyer.book.intend(key, device=IDEAL, reserved=Amount(600, buyer.fleet.quote_micro_usd(IDEAL, plan())))
    buyer.book.mark_submitted(key, buyer.fleet.provider(IDEAL).submit(plan(), key.token))
    sandbox.kill()
    thread = threading.Thread(target=restart)
    thread.start()
    bought = buyer.buy(0, 0, IDEAL, plan())
    thread.join()
    assert_same(bought.outcome, JaxDevice().sample(plan()))
    assert_exactly_once(buyer)


def test_a_price_that_changes_mid_run_is_paid_and_the_next_quote_knows_it(
    buyer: Buyer, sandbox: SandboxProcess
) -> None:
    buyer.buy(0, 0, NO_TOKENS, plan())
    sandbox.control().inject(FaultSpec(kind=FaultKind.PRICE_CHANGE, device=NO_TOKENS, factor=2))
    buyer.buy(1, 0, NO_TOKENS, plan())
    assert fired(sandbox, FaultKind.PRICE_CHANGE) == 1
    buyer.buy(2, 0, NO_TOKENS, plan())
    before, changed, after = jobs_of(buyer.book.lease.database)
    assert changed.quote_micro_usd == before.quote_micro_usd == before.cost_micro_usd
    assert changed.cost_micro_usd == 2 * before.cost_micro_usd
    assert after.quote_micro_usd == after.cost_micro_usd == changed.cost_micro_usd
    assert_exactly_once(buyer)


def test_a_higher_price_that_no_limit_has_room_for_is_disputed_and_never_overspent(
    buyer: Buyer, sandbox: SandboxProcess
) -> None:
    ledger = Ledger(buyer.book.lease.database)
    quote = buyer.fleet.quote_micro_usd(IDEAL, plan())
    ledger.set_limit("tenant", micro_usd=quote)
    sandbox.control().inject(FaultSpec(kind=FaultKind.BILL_ABOVE_QUOTE, device=IDEAL, factor=2))
    buyer.buy(0, 0, IDEAL, plan())
    assert fired(sandbox, FaultKind.BILL_ABOVE_QUOTE) == 1
    balance = ledger.balance("tenant")
    assert (balance.posted.micro_usd, balance.disputed.micro_usd) == (quote, quote)
    assert_exactly_once(buyer)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (FaultKind.CALIBRATION_MISSING, "no calibration"),
        (FaultKind.CALIBRATION_STALE, "old, limit 1 day"),
        (FaultKind.CALIBRATION_FUTURE, "in the future"),
        (FaultKind.CALIBRATION_NAN, "no probability"),
        (FaultKind.CALIBRATION_ERROR_ONE, "error of 1"),
    ],
)
def test_a_device_with_a_bad_calibration_is_no_candidate(
    buyer: Buyer, sandbox: SandboxProcess, kind: FaultKind, reason: str
) -> None:
    hamiltonian = PauliSum.from_strings({"ZZ": 1.0, "XX": 0.5})
    sandbox.control().inject(FaultSpec(kind=kind, device=NO_TOKENS, times=None))
    now = replace(fleet(), now_us=sandbox.control().now_us)
    found = now.candidates(plan(), qubit_wise_commuting(hamiltonian), hamiltonian)
    refusals = {candidate.device: candidate.refusal for candidate in found}
    assert fired(sandbox, kind) >= 1
    assert reason in (refusals[NO_TOKENS] or "")
    assert refusals[IDEAL] is None


def test_nothing_good_is_expected_of_a_device_whose_calibration_is_missing_though_it_is_allowed(
    buyer: Buyer, sandbox: SandboxProcess
) -> None:
    hamiltonian = PauliSum.from_strings({"ZZ": 1.0, "XX": 0.5})
    missing = FaultSpec(kind=FaultKind.CALIBRATION_MISSING, device=NO_TOKENS, times=None)
    sandbox.control().inject(missing)
    allowing = replace(fleet(), calibration_policy=CalibrationPolicy(allow_bad=True))
    found = allowing.candidates(plan(), qubit_wise_commuting(hamiltonian), hamiltonian)
    told = {candidate.device: candidate for candidate in found}
    assert told[NO_TOKENS].refusal is None
    assert (told[NO_TOKENS].success, told[NO_TOKENS].uncalibrated) == (0.0, True)
    assert told[NO_TOKENS].bias == pytest.approx(spread_of(hamiltonian, 0b01))
    assert (told[IDEAL].success, told[IDEAL].uncalibrated, told[IDEAL].bias) == (1.0, False, 0.0)


@pytest.mark.parametrize("device", [IDEAL, NO_TOKENS])
def test_asked_to_stop_while_a_job_is_queued_the_wait_ends_and_the_job_stays(
    buyer: Buyer, sandbox: SandboxProcess, device: str
) -> None:
    sandbox.control().inject(FaultSpec(kind=FaultKind.JOB_STUCK_QUEUED, device=device))
    drive = Drive(buyer.book.lease, time.monotonic(), 0)
    asleep = threading.Event()

    def sleep(seconds: float) -> None:
        asleep.set()
        drive.sleep(seconds)

    patient = replace(buyer, sleep=sleep, retry_policy=RetryPolicy(first_s=600, longest_s=600))
    threading.Thread(target=lambda: asleep.wait() and drive.stop.set()).start()
    with pytest.raises(StopAsked):
        patient.buy(0, 0, device, plan())
    assert fired(sandbox, FaultKind.JOB_STUCK_QUEUED) == 1
    (job,) = jobs_of(buyer.book.lease.database)
    assert job.state is JobPhase.SUBMITTED
    assert Ledger(buyer.book.lease.database).find(job.token).state is ReservationState.HELD
    bought = again(buyer).buy(0, 0, device, plan())  # it is stuck: cancelled, and bought under a new token
    assert bought.outcome.counts.sum() == 600
    assert_exactly_once(buyer)


def test_missing_and_joined_account_for_every_shot() -> None:
    whole = plan()
    rows, all_of_it = undelivered(whole, []) or ((), None)
    assert all_of_it is whole
    half = replace(whole, shots=np.array([100, 300]))
    parts = [Delivery(rows, whole, JaxDevice().sample(half))]
    left = undelivered(whole, parts)
    assert left is not None
    rows, rest = left
    assert rest.shots.tolist() == [200]
    parts.append(Delivery(rows, rest, JaxDevice().sample(rest)))
    assert undelivered(whole, parts) is None
    assert join_deliveries(whole, parts).shots.tolist() == [300, 300]
