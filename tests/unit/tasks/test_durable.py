"""Buying a batch under every fault of the fault list: nothing lost, nothing bought twice, books agree."""

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydantic import SecretStr
from sqlalchemy import select

from backends.fleet import SANDBOX_URL, Fleet
from backends.jax_device import JaxDevice
from backends.sandbox import FaultKind, FaultSpec
from backends.sandbox.connection import KEY_VARIABLE
from backends.sandbox.process import SandboxProcess
from ledger import Amount, BudgetExceededError, Database, JobBook, JobKey, JobPhase, Journal, Ledger, jobs_of
from measurement import Bases, ExecutionPlan, Outcome
from problems import Circuit, Rotation
from shotwise.errors import LeaseLostError
from tasks.durable import Buyer, DeviceGaveUpError, Patience, joined, missing, shots_by_row
from tasks.reconcile import DifferenceKind, reconcile

KEY = SecretStr("test-key-of-the-durable-suite")
IDEAL, NO_TOKENS = "sandbox-ideal", "sandbox-cheap"
QUICK = Patience(first_s=0.01, longest_s=0.1, unavailable_s=20, visible_s=0.5, stuck_s=0.3)


_opened: list[Fleet] = []


def fleet() -> Fleet:
    _opened.append(Fleet((IDEAL, NO_TOKENS)))
    return _opened[-1]


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    with SandboxProcess(tmp_path_factory.mktemp("sandbox"), queue_scale=0, key=KEY) as process:
        yield process


@pytest.fixture
def buyer(tmp_path: Path, sandbox: SandboxProcess, monkeypatch: pytest.MonkeyPatch) -> Iterator[Buyer]:
    monkeypatch.setenv(KEY_VARIABLE, KEY.get_secret_value())
    monkeypatch.setenv(SANDBOX_URL, sandbox.url)
    sandbox.control().clear()
    journal = Journal(Database(f"sqlite:///{tmp_path / 'journal.db'}"))
    run_id = journal.create_run(
        name="run", kind="pauli", spec_json="{}", problem_sha256="", versions_json="{}"
    )
    ledger = Ledger(journal.database)
    account = f"tenant/project/{run_id}"
    ledger.open_account(account)
    ledger.set_limit("tenant", micro_usd=500_000_000)
    yield Buyer(JobBook(journal.acquire(run_id), account), fleet(), QUICK)
    while _opened:
        _opened.pop().close()
    sandbox.control().clear()
    journal.database.close()


def plan(seed: int = 1, shots: int = 300) -> ExecutionPlan:
    circuit = Circuit.build(
        2, [Rotation(0b11, 0, 0b01, 0), Rotation(0b10, 0b10, None, 1)], initial_state=0b01
    )
    zeros, rows = np.zeros(2, dtype=np.int64), np.arange(2)
    angles = circuit.angles(np.array([[0.7, 0.4]]))
    return ExecutionPlan(
        circuit, angles, Bases(np.array([0, 3]), zeros), zeros, rows, np.full(2, shots), (seed,)
    )


def again(buyer: Buyer) -> Buyer:
    """The buyer of the next process: nothing is known but the journal."""
    return replace(buyer, fleet=fleet(), breaker=type(buyer.breaker)())


def assert_exactly_once(buyer: Buyer, *devices: str) -> None:
    """No job is on a provider's bill twice, and ledger, journal and bill agree."""
    database = buyer.book.lease.database
    mine = {job.token for job in jobs_of(database)}
    found = [d for d in reconcile(database, buyer.fleet.provider) if d.token in mine or not d.token]
    ours = [d for d in found if d.kind is not DifferenceKind.NOT_IN_JOURNAL]
    assert ours == []
    for job in jobs_of(database):
        count = len(buyer.fleet.provider(job.device).find(job.token))
        assert count == 1 if job.state is JobPhase.DONE else count <= 1


def assert_same(outcome: Outcome, wanted: Outcome) -> None:
    np.testing.assert_array_equal(outcome.states, wanted.states)
    np.testing.assert_array_equal(outcome.counts, wanted.counts)


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
    assert sandbox.control().fired(kind) >= 1
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
    assert sandbox.control().fired(kind) >= 1
    assert bought.outcome.counts.sum() == 600
    assert_exactly_once(buyer)


@pytest.mark.parametrize("kind", [FaultKind.JOB_PARTIAL, FaultKind.JOB_FAILS])
def test_partial_results_are_kept_and_only_the_missing_shots_bought(
    buyer: Buyer, sandbox: SandboxProcess, kind: FaultKind
) -> None:
    sandbox.control().inject(FaultSpec(kind=kind, device=IDEAL, factor=0.5))
    bought = buyer.buy(0, 0, IDEAL, plan())
    assert sandbox.control().fired(kind) == 1
    assert shots_by_row(bought.outcome).tolist() == [300, 300]
    first, second = jobs_of(buyer.book.lease.database)
    assert 0 < first.shots < 600
    assert first.shots + second.shots == 600 == bought.shots
    assert_exactly_once(buyer)


def test_a_bill_above_the_quote_is_charged_in_full_and_seen(buyer: Buyer, sandbox: SandboxProcess) -> None:
    sandbox.control().inject(FaultSpec(kind=FaultKind.BILL_ABOVE_QUOTE, device=IDEAL, factor=1.5))
    bought = buyer.buy(0, 0, IDEAL, plan())
    assert sandbox.control().fired(FaultKind.BILL_ABOVE_QUOTE) == 1
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
    assert sandbox.control().fired(FaultKind.BILL_LATE_CORRECTION) == 1
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
    from ledger.tables import jobs

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
    from sqlalchemy import update

    from ledger.tables import runs

    lease = buyer.book.lease
    with lease.database.write() as connection:
        connection.execute(update(runs).values(lease_until_us=1))
    Journal(lease.database).acquire(lease.run_id)
    with pytest.raises(LeaseLostError):
        buyer.buy(0, 0, IDEAL, plan())
    assert jobs_of(lease.database) == []


def test_a_sandbox_killed_in_the_middle_is_waited_for(buyer: Buyer, sandbox: SandboxProcess) -> None:
    import threading

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
