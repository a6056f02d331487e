"""Buying a batch under every fault of the fault list: nothing lost, nothing bought twice, books agree."""

import json
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from sqlalchemy import select, update

from backends.jax_device import JaxDevice
from backends.sandbox import FaultKind, FaultSpec
from backends.sandbox.process import SandboxProcess
from ledger import Amount, BudgetExceededError, JobKey, JobPhase, Journal, Ledger, ReservationState, jobs_of
from ledger.tables import jobs, runs
from measurement import qubit_wise_commuting
from problems import PauliSum
from shotwise.errors import LeaseLostError
from tasks.driving import Drive, StopAsked
from tasks.durable import Buyer, DeviceGaveUpError, Patience, joined, missing, shots_by_row
from tasks.reconcile import DifferenceKind, reconcile
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
    assert shots_by_row(bought.outcome).tolist() == [300, 300]
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


def test_a_late_correction_of_the_bill_is_reported_and_can_be_entered(
    buyer: Buyer, sandbox: SandboxProcess
) -> None:
    sandbox.control().inject(FaultSpec(kind=FaultKind.BILL_LATE_CORRECTION, device=IDEAL, factor=1.2))
    buyer.buy(0, 0, IDEAL, plan())
    sandbox.control().advance(7 * 24 * 3600)
    database = buyer.book.lease.database
    (job,) = jobs_of(database)
    found = [d for d in reconcile(database, buyer.fleet.provider) if d.token == job.token]
    assert fired(sandbox, FaultKind.BILL_LATE_CORRECTION) == 1
    assert [d.kind for d in found] == [DifferenceKind.BILL_HIGHER]
    reconcile(database, buyer.fleet.provider, correct=True)
    assert [d for d in reconcile(database, buyer.fleet.provider) if d.token == job.token] == []


@pytest.mark.parametrize("kind", [FaultKind.SUBMIT_GONE, FaultKind.SUBMIT_QUOTA])
def test_a_device_that_refuses_for_good_is_given_up_and_nothing_is_held(
    buyer: Buyer, sandbox: SandboxProcess, kind: FaultKind
) -> None:
    sandbox.control().inject(FaultSpec(kind=kind, device=IDEAL, times=None))
    for process in (buyer, again(buyer)):
        with pytest.raises(DeviceGaveUpError):
            process.buy(0, 0, IDEAL, plan())
    balance = Ledger(buyer.book.lease.database).balance("tenant")
    assert (balance.held, balance.posted) == (Amount(), Amount())
    assert len(jobs_of(buyer.book.lease.database)) == 1


def test_a_job_that_was_sent_but_not_entered_is_found_and_not_bought_again(buyer: Buyer) -> None:
    key = JobKey(buyer.book.lease.run_id, 0, 0)
    for device, batch in ((IDEAL, 0), (NO_TOKENS, 1)):
        key = replace(key, batch=batch)
        buyer.book.intend(
            key, device=device, promise=Amount(600, buyer.fleet.quote_micro_usd(device, plan()))
        )
        sent = buyer.fleet.provider(device).submit(plan(), key.token)  # and here the process dies
        again(buyer).buy(0, batch, device, plan())
        assert [j.vendor_job_id for j in jobs_of(buyer.book.lease.database) if j.batch == batch] == [sent]
    assert_exactly_once(buyer)


def test_an_intent_that_was_never_sent_is_sent_under_its_own_token(buyer: Buyer) -> None:
    for batch, device in enumerate((IDEAL, NO_TOKENS)):
        key = JobKey(buyer.book.lease.run_id, 0, batch)
        buyer.book.intend(
            key, device=device, promise=Amount(600, buyer.fleet.quote_micro_usd(device, plan()))
        )
        assert again(buyer).buy(0, batch, device, plan()).outcome.counts.sum() == 600
    assert_exactly_once(buyer)


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
    buyer.book.intend(key, device=IDEAL, promise=Amount(600, buyer.fleet.quote_micro_usd(IDEAL, plan())))
    buyer.book.submitted(key, buyer.fleet.provider(IDEAL).submit(plan(), key.token))
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
        (FaultKind.CALIBRATION_STALE, "h old"),
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

    patient = replace(buyer, sleep=sleep, patience=Patience(first_s=600, longest_s=600))
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
    assert missing(whole, []) is whole
    half = replace(whole, shots=np.array([100, 300]))
    parts = [(whole, JaxDevice().sample(half))]
    rest = missing(whole, parts)
    assert rest is not None
    assert rest.shots.tolist() == [200]
    parts.append((rest, JaxDevice().sample(rest)))
    assert missing(whole, parts) is None
    assert shots_by_row(joined(whole, parts)).tolist() == [300, 300]
