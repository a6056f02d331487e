"""Every fault of the sandbox is injected, seen by the adapter as documented, and counted as fired."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from backends.calibration import Calibration, rejection_reason
from backends.jax_device import JaxDevice
from backends.provider import (
    JobState,
    ProviderError,
    ProviderUnavailable,
    ResultMissing,
    SubmitRejected,
    SubmitUnknown,
)
from backends.sandbox import (
    FaultKind,
    FaultSpec,
    SandboxControl,
    SandboxProcess,
    SandboxProvider,
    Timeouts,
    usage_of,
)
from measurement import Bases, ExecutionPlan
from problems.circuit import Circuit, Rotation

HOUR_S = 3600.0


def make_plan(shots: int = 100) -> ExecutionPlan:
    circuit = Circuit.build(2, [Rotation(0b11, 0, 0b01, 0), Rotation(0b01, 0, None, 1)], initial_state=1)
    bases = Bases(np.array([0, 3]), np.array([0, 0]))
    rows = np.array([(0, 0, shots), (0, 1, shots)])
    return ExecutionPlan(circuit, circuit.angles(np.array([[0.4, 1.1]])), bases, *rows.T, (7, 1))


PLAN = make_plan()


@dataclass(frozen=True)
class Sandbox:
    """A running sandbox and its devices; `fired` says how often a kind fired since the test began."""

    process: SandboxProcess
    control: SandboxControl
    ideal: SandboxProvider
    slow: SandboxProvider
    cheap: SandboxProvider
    fired_before: dict[FaultKind, int]

    def inject(self, kind: FaultKind, device: SandboxProvider | None = None, **details: object) -> None:
        name = device.name if device else None
        self.control.inject(FaultSpec.model_validate({"kind": kind, "device": name, **details}))

    def fired(self, kind: FaultKind) -> int:
        return self.control.fired(kind) - self.fired_before[kind]


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    with SandboxProcess(tmp_path_factory.mktemp("sandbox")) as process:
        yield process


@pytest.fixture(scope="module")
def devices(process: SandboxProcess) -> tuple[SandboxControl, dict[str, SandboxProvider]]:
    names = ("sandbox-ideal", "sandbox-slow", "sandbox-cheap")
    return process.control(), {name: process.provider(name, Timeouts(read_s=30.0)) for name in names}


@pytest.fixture
def sandbox(
    process: SandboxProcess, devices: tuple[SandboxControl, dict[str, SandboxProvider]]
) -> Iterator[Sandbox]:
    control, by_name = devices
    before = dict.fromkeys(FaultKind, 0)
    for status in control.faults():
        before[status.spec.kind] += status.fired
    yield Sandbox(process, control, *by_name.values(), before)
    control.clear()


_numbers = itertools.count()


@pytest.fixture
def token() -> str:
    return f"fault-{next(_numbers)}"


def quote(provider: SandboxProvider, plan: ExecutionPlan = PLAN) -> int:
    description = provider.description()
    return description.price.cost_micro_usd(usage_of(plan, description.queue))


def billed(provider: SandboxProvider, job_id: str) -> list[int]:
    return [line.cost_micro_usd for line in provider.bill() if line.job_id == job_id]


# --- Submissions that certainly bought nothing --------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "permanent", "retry_after_s"),
    [
        (FaultKind.SUBMIT_RATE_LIMITED, False, 2.5),
        (FaultKind.SUBMIT_OFFLINE, False, 2.5),
        (FaultKind.SUBMIT_GONE, True, None),
        (FaultKind.SUBMIT_QUOTA, True, None),
    ],
)
def test_refusals_are_certain(
    sandbox: Sandbox, token: str, kind: FaultKind, permanent: bool, retry_after_s: float | None
) -> None:
    sandbox.inject(kind, sandbox.ideal, seconds=2.5)
    with pytest.raises(SubmitRejected) as refusal:
        sandbox.ideal.submit(PLAN, token)
    assert refusal.value.permanent is permanent
    assert refusal.value.retry_after_s == retry_after_s
    assert sandbox.fired(kind) == 1
    assert sandbox.ideal.find(token) == []
    assert sandbox.ideal.submit(PLAN, token)


def test_the_quota_ends_in_the_middle_of_a_batch(sandbox: Sandbox, token: str) -> None:
    sandbox.inject(FaultKind.SUBMIT_QUOTA, sandbox.ideal, after_n=3, times=None)
    for number in range(3):
        sandbox.ideal.submit(PLAN, f"{token}-{number}")
    for number in range(3, 5):
        with pytest.raises(SubmitRejected, match="quota_exceeded"):
            sandbox.ideal.submit(PLAN, f"{token}-{number}")
    assert sandbox.fired(FaultKind.SUBMIT_QUOTA) == 2


def test_a_device_that_goes_offline_between_decision_and_submit(sandbox: Sandbox, token: str) -> None:
    assert sandbox.ideal.calibration() is not None
    sandbox.inject(FaultKind.SUBMIT_OFFLINE, sandbox.ideal)
    with pytest.raises(SubmitRejected, match="device_offline"):
        sandbox.ideal.submit(PLAN, token)
    assert sandbox.slow.submit(PLAN, token)
    assert sandbox.fired(FaultKind.SUBMIT_OFFLINE) == 1


# --- Submissions whose fate is not known --------------------------------------------------------------------


@pytest.mark.parametrize("honours", [True, False])
@pytest.mark.parametrize(
    ("kind", "jobs"),
    [
        (FaultKind.SUBMIT_TIMEOUT_BEFORE, 0),
        (FaultKind.SUBMIT_CONFLICT, 0),
        (FaultKind.SUBMIT_ERROR_BEFORE, 0),
        (FaultKind.SUBMIT_TIMEOUT_AFTER, 1),
        (FaultKind.SUBMIT_ERROR_AFTER, 1),
        (FaultKind.SUBMIT_REPLY_LOST, 1),
    ],
)
def test_a_lost_answer_is_unknown_and_find_ends_it(
    sandbox: Sandbox, token: str, kind: FaultKind, jobs: int, honours: bool
) -> None:
    device = sandbox.ideal if honours else sandbox.cheap
    sandbox.inject(kind, device, seconds=0.01)
    with pytest.raises(SubmitUnknown):
        device.submit(PLAN, token)
    assert sandbox.fired(kind) == 1
    found = device.find(token)
    assert len(found) == jobs
    if honours:
        again = device.submit(PLAN, token)
        assert device.find(token) == [again]
        assert found in ([], [again])


@pytest.mark.parametrize(
    ("kind", "jobs"), [(FaultKind.SUBMIT_TIMEOUT_BEFORE, 0), (FaultKind.SUBMIT_TIMEOUT_AFTER, 1)]
)
def test_a_client_that_stops_waiting_does_not_know_either(
    sandbox: Sandbox, token: str, kind: FaultKind, jobs: int
) -> None:
    impatient = sandbox.process.provider("sandbox-ideal", Timeouts(read_s=0.3))
    sandbox.inject(kind, impatient, seconds=30)
    with pytest.raises(SubmitUnknown, match="ReadTimeout"):
        impatient.submit(PLAN, token)
    assert sandbox.fired(kind) == 1
    assert len(sandbox.ideal.find(token)) == jobs


def test_an_acceptance_that_searches_find_only_later(sandbox: Sandbox, token: str) -> None:
    sandbox.inject(FaultKind.SUBMIT_ACCEPTED_LATE, sandbox.cheap, seconds=600)
    with pytest.raises(SubmitUnknown):
        sandbox.cheap.submit(PLAN, token)
    assert sandbox.cheap.find(token) == []
    sandbox.control.advance(HOUR_S)
    assert len(sandbox.cheap.find(token)) == 1
    assert sandbox.fired(FaultKind.SUBMIT_ACCEPTED_LATE) == 1


def test_the_answer_to_another_submission_is_not_taken_for_ours(sandbox: Sandbox, token: str) -> None:
    first = sandbox.ideal.submit(PLAN, f"{token}-first")
    sandbox.inject(FaultKind.SUBMIT_DUPLICATE_REPLY, sandbox.ideal)
    with pytest.raises(SubmitUnknown, match=first):
        sandbox.ideal.submit(PLAN, token)
    assert sandbox.fired(FaultKind.SUBMIT_DUPLICATE_REPLY) == 1
    (ours,) = sandbox.ideal.find(token)
    assert ours != first


@pytest.mark.parametrize("honours", [True, False])
def test_a_request_that_arrives_twice_shows_in_find(sandbox: Sandbox, token: str, honours: bool) -> None:
    device = sandbox.ideal if honours else sandbox.cheap
    sandbox.inject(FaultKind.SUBMIT_DELIVERED_TWICE, device)
    job_id = device.submit(PLAN, token)
    assert sandbox.fired(FaultKind.SUBMIT_DELIVERED_TWICE) == 1
    found = device.find(token)
    assert job_id in found
    assert len(found) == (1 if honours else 2)


def test_no_connection_means_nothing_was_bought(tmp_path: Path, token: str) -> None:
    with SandboxProcess(tmp_path) as process:
        provider = process.provider("sandbox-ideal")
        process.kill()
        with pytest.raises(SubmitRejected) as refusal:
            provider.submit(PLAN, token)
        assert not refusal.value.permanent
        with pytest.raises(ProviderUnavailable):
            provider.find(token)


# --- Jobs ---------------------------------------------------------------------------------------------------


def test_a_job_stuck_in_the_queue_holds_up_nobody_else(sandbox: Sandbox, token: str) -> None:
    sandbox.inject(FaultKind.JOB_STUCK_QUEUED, sandbox.slow)
    stuck, other = (sandbox.slow.submit(PLAN, f"{token}-{i}") for i in range(2))
    sandbox.control.advance(24 * HOUR_S)
    assert sandbox.slow.poll(stuck).state is JobState.QUEUED
    assert sandbox.slow.poll(other).state is JobState.DONE
    assert sandbox.slow.cancel(stuck).state is JobState.CANCELLED
    assert sandbox.fired(FaultKind.JOB_STUCK_QUEUED) == 1


@pytest.mark.parametrize(
    ("kind", "state"), [(FaultKind.JOB_PARTIAL, JobState.DONE), (FaultKind.JOB_FAILS, JobState.FAILED)]
)
def test_fewer_shots_than_asked(sandbox: Sandbox, token: str, kind: FaultKind, state: JobState) -> None:
    sandbox.inject(kind, sandbox.ideal, factor="0.75")
    job_id = sandbox.ideal.submit(PLAN, token)
    report = sandbox.ideal.poll(job_id)
    assert report.state is state
    assert bool(report.message) is (state is JobState.FAILED)
    outcome = sandbox.ideal.fetch(job_id, PLAN)
    assert [int(outcome.row(row)[1].sum()) for row in range(2)] == [100, 50]
    whole = JaxDevice().sample(PLAN)
    np.testing.assert_array_equal(outcome.row(0), whole.row(0))
    assert sandbox.fired(kind) == 1


def test_partial_results_may_leave_rows_empty(sandbox: Sandbox, token: str) -> None:
    sandbox.inject(FaultKind.JOB_PARTIAL, sandbox.ideal, factor="0.25")
    outcome = sandbox.ideal.fetch(sandbox.ideal.submit(PLAN, token), PLAN)
    assert [int(outcome.row(row)[1].sum()) for row in range(2)] == [50, 0]
    assert sandbox.fired(FaultKind.JOB_PARTIAL) == 1


def test_done_without_a_result(sandbox: Sandbox, token: str) -> None:
    sandbox.inject(FaultKind.JOB_RESULT_MISSING, sandbox.ideal)
    job_id = sandbox.ideal.submit(PLAN, token)
    assert sandbox.ideal.poll(job_id).state is JobState.DONE
    with pytest.raises(ResultMissing, match=job_id):
        sandbox.ideal.fetch(job_id, PLAN)
    assert billed(sandbox.ideal, job_id) == [quote(sandbox.ideal)]
    assert sandbox.fired(FaultKind.JOB_RESULT_MISSING) == 1


def test_states_may_come_out_of_order(sandbox: Sandbox, token: str) -> None:
    job_id = sandbox.ideal.submit(PLAN, token)
    assert sandbox.ideal.poll(job_id).state is JobState.DONE
    sandbox.inject(FaultKind.JOB_OUT_OF_ORDER, sandbox.ideal)
    assert [sandbox.ideal.poll(job_id).state for _ in range(2)] == [JobState.QUEUED, JobState.DONE]
    assert sandbox.fired(FaultKind.JOB_OUT_OF_ORDER) == 1


def test_completion_may_win_against_a_cancellation(sandbox: Sandbox, token: str) -> None:
    sandbox.inject(FaultKind.CANCEL_RACES_COMPLETION, sandbox.slow)
    job_id = sandbox.slow.submit(PLAN, token)
    assert sandbox.slow.cancel(job_id).state is JobState.DONE
    assert billed(sandbox.slow, job_id) == [quote(sandbox.slow)]
    assert sandbox.slow.fetch(job_id, PLAN).counts.sum() == PLAN.shots_total
    assert sandbox.fired(FaultKind.CANCEL_RACES_COMPLETION) == 1


def test_a_cancelled_job_may_complete_and_be_billed(sandbox: Sandbox, token: str) -> None:
    sandbox.inject(FaultKind.COMPLETES_AFTER_CANCEL, sandbox.slow, seconds=600)
    job_id = sandbox.slow.submit(PLAN, token)
    assert sandbox.slow.cancel(job_id).state is JobState.CANCELLED
    assert sandbox.slow.fetch(job_id, PLAN).counts.sum() == 0
    before = sum(billed(sandbox.slow, job_id))
    sandbox.control.advance(HOUR_S)
    assert sandbox.slow.poll(job_id).state is JobState.DONE
    assert sandbox.slow.fetch(job_id, PLAN).counts.sum() == PLAN.shots_total
    assert before < sum(billed(sandbox.slow, job_id)) == quote(sandbox.slow)
    assert sandbox.fired(FaultKind.COMPLETES_AFTER_CANCEL) == 1


# --- Bills --------------------------------------------------------------------------------------------------


def test_the_bill_may_be_above_the_quote(sandbox: Sandbox, token: str) -> None:
    sandbox.inject(FaultKind.BILL_ABOVE_QUOTE, sandbox.ideal, factor="1.5")
    job_id = sandbox.ideal.submit(PLAN, token)
    report = sandbox.ideal.poll(job_id)
    assert report.cost_micro_usd == quote(sandbox.ideal) * 3 // 2
    assert billed(sandbox.ideal, job_id) == [report.cost_micro_usd]
    assert sandbox.fired(FaultKind.BILL_ABOVE_QUOTE) == 1


@pytest.mark.parametrize("factor", [Decimal("0.25"), Decimal("-0.5")])
def test_a_correction_may_follow(sandbox: Sandbox, token: str, factor: Decimal) -> None:
    sandbox.inject(FaultKind.BILL_LATE_CORRECTION, sandbox.ideal, seconds=600, factor=factor)
    job_id = sandbox.ideal.submit(PLAN, token)
    sandbox.ideal.poll(job_id)
    assert billed(sandbox.ideal, job_id) == [quote(sandbox.ideal)]
    sandbox.control.advance(HOUR_S)
    assert billed(sandbox.ideal, job_id) == [quote(sandbox.ideal), int(quote(sandbox.ideal) * factor)]
    assert sandbox.fired(FaultKind.BILL_LATE_CORRECTION) == 1


def test_the_price_may_change_mid_run(sandbox: Sandbox, token: str) -> None:
    """Jobs accepted before keep their price."""
    before = quote(sandbox.cheap)
    old = sandbox.cheap.submit(PLAN, f"{token}-old")
    sandbox.inject(FaultKind.PRICE_CHANGE, sandbox.cheap, factor="2")
    new = sandbox.cheap.submit(PLAN, f"{token}-new")
    sandbox.control.advance(HOUR_S)
    assert quote(sandbox.cheap) == 2 * before
    assert billed(sandbox.cheap, old) == [before]
    assert billed(sandbox.cheap, new) == [2 * before]
    assert sandbox.fired(FaultKind.PRICE_CHANGE) == 1


# --- Calibrations, questions, campaigns ---------------------------------------------------------------------


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
def test_bad_calibrations_arrive_as_they_are(sandbox: Sandbox, kind: FaultKind, reason: str) -> None:
    sandbox.inject(kind, sandbox.slow)
    bad, good = sandbox.slow.calibration(), sandbox.slow.calibration()
    found = rejection_reason(bad, sandbox.control.now_us())
    assert found is not None
    assert reason in found
    assert isinstance(good, Calibration)
    assert rejection_reason(good, sandbox.control.now_us()) is None
    assert sandbox.fired(kind) == 1


QUESTIONS: dict[str, Callable[[SandboxProvider, str], object]] = {
    "poll": lambda device, job_id: device.poll(job_id),
    "fetch": lambda device, job_id: device.fetch(job_id, PLAN),
    "find": lambda device, _: device.find("anything"),
    "cancel": lambda device, job_id: device.cancel(job_id),
    "bill": lambda device, _: device.bill(),
    "queue": lambda device, _: device.queue(),
    "calibration": lambda device, _: device.calibration(),
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_any_question_may_get_no_answer(sandbox: Sandbox, token: str, question: str) -> None:
    job_id = sandbox.ideal.submit(PLAN, token)
    sandbox.inject(FaultKind.READ_ERROR, sandbox.ideal)
    with pytest.raises(ProviderUnavailable):
        QUESTIONS[question](sandbox.ideal, job_id)
    QUESTIONS[question](sandbox.ideal, job_id)
    assert sandbox.fired(FaultKind.READ_ERROR) == 1


def careful_client(device: SandboxProvider, token: str) -> bytes:
    """Buy the plan once, whatever happens on the way."""

    def insist(ask: Callable[[], object], *errors: type[ProviderError]) -> object:
        for _ in range(100):
            try:
                return ask()
            except errors:
                continue
        raise AssertionError("no answer in 100 attempts")

    job_id = insist(lambda: device.submit(PLAN, token), SubmitRejected, SubmitUnknown)
    assert insist(lambda: device.find(token), ProviderUnavailable) == [job_id]
    while not (report := insist(lambda: device.poll(str(job_id)), ProviderUnavailable)).state.ended:
        pass
    assert report.state is JobState.DONE
    return insist(lambda: device.fetch(str(job_id), PLAN).to_bytes(), ProviderUnavailable)


def test_a_random_campaign_is_absorbed(sandbox: Sandbox, token: str) -> None:
    """Seed 11, a sixth of all opportunities: each token one job, each job its price, the counts untouched."""
    sandbox.control.inject_random(11, 1 / 6, device="sandbox-ideal", seconds=0.001)
    expected = JaxDevice().sample(PLAN).to_bytes()
    for number in range(25):
        assert careful_client(sandbox.ideal, f"campaign-{number}") == expected
    campaign = [status for status in sandbox.control.faults() if status.active]
    assert sum(status.fired for status in campaign) > 30
    assert all(status.fired for status in campaign)
    sandbox.control.clear()
    lines = [line for line in sandbox.ideal.bill() if (line.token or "").startswith("campaign-")]
    assert [line.cost_micro_usd for line in lines] == 25 * [quote(sandbox.ideal)]


def test_a_restart_keeps_faults_and_their_counts(tmp_path: Path) -> None:
    with SandboxProcess(tmp_path) as process:
        provider, control = process.provider("sandbox-ideal"), process.control()
        control.inject(FaultSpec(kind=FaultKind.SUBMIT_ERROR_AFTER, times=2))
        with pytest.raises(SubmitUnknown):
            provider.submit(PLAN, "first")
        process.kill()
        process.start()
        assert control.fired(FaultKind.SUBMIT_ERROR_AFTER) == 1
        assert len(provider.find("first")) == 1
        with pytest.raises(SubmitUnknown):
            provider.submit(PLAN, "second")
        assert provider.submit(PLAN, "third")
        assert control.fired(FaultKind.SUBMIT_ERROR_AFTER) == 2


def test_every_kind_of_fault_is_tested_here() -> None:
    source = Path(__file__).read_text(encoding="utf-8")
    assert [kind for kind in FaultKind if f"FaultKind.{kind.name}" not in source] == []
