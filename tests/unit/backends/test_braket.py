"""Amazon Braket: the local simulator, and the cloud adapter against its API emulated over HTTP."""

import json
import logging
from collections.abc import Iterator
from decimal import Decimal

import numpy as np
import pytest

pytest.importorskip("braket.aws")


from backends.braket.account import open_session
from backends.braket.cloud_provider import BraketCloudProvider
from backends.braket.device_calibration import read_calibration
from backends.calibration import rejection_reason
from backends.catalog import AdapterContext, CatalogProvider, DeviceDescription, load_catalog, open_provider
from backends.jax_device import JaxDevice
from backends.prices import Price
from backends.provider import (
    JobGone,
    JobState,
    ProviderUnavailable,
    ResultMissing,
    SubmitRejected,
    SubmitUnknown,
)
from measurement.plan import Bases, ExecutionPlan, Outcome
from problems.circuit import Circuit, Rotation
from shotwise.errors import CannotRunError
from tests.unit.backends.braket_emulator import ARN, KEY, SECRET, Emulator
from tests.unit.backends.emulating import running


def plan_of(rows: list[tuple[int, int]], shots: int) -> ExecutionPlan:
    rotations = [
        Rotation(0b0001, 0b0001, None, 0),
        Rotation(0b0011, 0, 0b01, 1),
        Rotation(0b1111, 0, 0b0011, 2),
        Rotation(0b1001, 0b0110, 0b1000, 1),
        Rotation(0, 0b0101, offset=0.5),
        Rotation(0b0110, 0b0010, None, 0, 0.5),
    ]
    circuit = Circuit.build(4, rotations, initial_state=0b0011)
    angles = circuit.angles(np.random.default_rng(3).normal(size=(2, 3)))
    bases = Bases(np.array([0, 0b0111]), np.array([0, 0b1010]))
    point, basis = (np.array(column) for column in zip(*rows, strict=True))
    return ExecutionPlan(circuit, angles, bases, point, basis, np.full(len(rows), shots), (5, 1))


def distance(one: Outcome, other: Outcome, row: int) -> float:
    """Total variation between the frequencies of a row."""
    both = np.zeros((2, 16))
    for which, source in enumerate((one, other)):
        states, counts = source.row(row)
        both[which, states] = counts / counts.sum()
    return float(np.abs(both[0] - both[1]).sum() / 2)


def test_the_local_simulator_agrees_with_ours_and_repeats_itself() -> None:
    """Total variation of two draws of 20,000 over 16 states exceeds 0.05 with probability below 1e-6."""
    plan = plan_of([(0, 0), (0, 1), (1, 0), (1, 1), (0, 0)], 20_000)
    provider = open_provider(load_catalog()["braket-local"])
    job_id = provider.submit(plan, "t")
    outcome, exact = provider.fetch(job_id, plan), JaxDevice().sample(plan)
    assert all(distance(outcome, exact, row) < 0.05 for row in range(len(plan)))
    assert provider.fetch(job_id, plan).to_bytes() == outcome.to_bytes()
    assert provider.poll(job_id).cost_micro_usd == 0


@pytest.fixture
def emulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    with running(Emulator()) as server:
        monkeypatch.setenv("BRAKET_ENDPOINT", server.url)
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server.url)
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        yield server


def provider_of(name: str, timeout_s: float = 5.0) -> BraketCloudProvider:
    secrets = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}
    session = open_session("eu-north-1", secrets.get, timeout_s)
    return BraketCloudProvider(load_catalog()[name], session, "amazon-braket-test")


@pytest.fixture
def provider(emulator: Emulator) -> BraketCloudProvider:
    return provider_of("braket-iqm-garnet")


@pytest.fixture
def plan() -> ExecutionPlan:
    return plan_of([(1, 1)], 4000)


def test_a_task_is_bought_found_polled_fetched_and_billed(
    provider: BraketCloudProvider, emulator: Emulator, plan: ExecutionPlan
) -> None:
    """Total variation of two draws of 4,000 over 16 states exceeds 0.1 with probability below 1e-6."""
    assert isinstance(provider, CatalogProvider)
    job_id = provider.submit(plan, "token-1")
    assert provider.submit(plan, "token-1") == job_id
    assert len(emulator.tasks) == 1
    assert provider.find("token-1") == [job_id]
    assert provider.find("token-2") == []
    report = provider.poll(job_id)
    assert (report.state, report.cost_micro_usd) == (JobState.DONE, 6_100_000)  # 0.30 + 4,000 * 0.00145
    assert distance(provider.fetch(job_id, plan), JaxDevice().sample(plan), 0) < 0.1
    (line,) = provider.bill()
    assert (line.job_id, line.token, line.cost_micro_usd) == (job_id, "token-1", 6_100_000)


def test_all_pages_of_tasks_are_read(provider: BraketCloudProvider, plan: ExecutionPlan) -> None:
    jobs = [provider.submit(plan, f"t{index}") for index in range(5)]
    assert [line.job_id for line in provider.bill()] == jobs
    assert provider.find("t4") == [jobs[4]]


def test_a_managed_simulator_is_billed_by_the_run_time_in_its_result(
    emulator: Emulator, plan: ExecutionPlan
) -> None:
    provider = provider_of("braket-sv1")
    job_id = provider.submit(plan, "t")
    assert provider.poll(job_id).cost_micro_usd == 3750
    assert [line.cost_micro_usd for line in provider.bill()] == [3750]  # 90 ms, but 3 s at least


def test_fewer_shots_than_asked_are_billed_and_returned(
    provider: BraketCloudProvider, emulator: Emulator, plan: ExecutionPlan
) -> None:
    job_id = provider.submit(plan, "t")
    emulator.tasks[job_id]["numSuccessfulShots"] = 100
    (path,) = emulator.results
    whole = json.loads(emulator.results[path])
    whole["measurements"] = whole["measurements"][:100]
    emulator.results[path] = json.dumps(whole)
    assert provider.poll(job_id).cost_micro_usd == 445_000
    dear_then = Price(per_shot_usd=Decimal(1))
    assert provider.poll(job_id, dear_then).cost_micro_usd == 100_000_000
    assert provider.fetch(job_id, plan).counts.sum() == 100


@pytest.mark.parametrize("fault", ["accept500", "accept503", "drop", "nameless", "late"])
def test_a_lost_answer_is_unknown_is_never_repeated_and_the_token_is_the_first_task(
    emulator: Emulator, plan: ExecutionPlan, fault: str
) -> None:
    provider = provider_of("braket-iqm-garnet", timeout_s=1.0 if fault == "late" else 5.0)
    emulator.faults.append(fault)
    with pytest.raises(SubmitUnknown):
        provider.submit(plan, "lost")
    assert emulator.faults == []
    assert emulator.posts == 1  # botocore would have posted again
    provider = provider_of("braket-iqm-garnet")
    assert provider.find("lost") == [f"{ARN}0"]
    assert provider.submit(plan, "lost") == f"{ARN}0"


@pytest.mark.parametrize(
    ("status", "code", "permanent"),
    [
        (400, "ValidationException", True),
        (403, "AccessDeniedException", True),
        (410, "DeviceRetiredException", True),
        (424, "DeviceOfflineException", False),
        (402, "ServiceQuotaExceededException", False),
        (429, "ThrottlingException", False),
    ],
)
def test_a_refusal_bought_nothing(
    provider: BraketCloudProvider,
    emulator: Emulator,
    plan: ExecutionPlan,
    status: int,
    code: str,
    permanent: bool,
) -> None:
    emulator.faults.append(f"refuse {status} {code}")
    with pytest.raises(SubmitRejected) as caught:
        provider.submit(plan, "refused")
    assert caught.value.permanent is permanent
    assert caught.value.retry_after_s == (7.0 if status == 429 else None)
    assert emulator.tasks == {}


def test_a_wait_may_be_told_as_a_date(
    provider: BraketCloudProvider, emulator: Emulator, plan: ExecutionPlan
) -> None:
    emulator.faults.append("refuse 429 ThrottlingException")
    emulator.retry_after = "Wed, 21 Oct 2015 07:28:00 GMT"
    with pytest.raises(SubmitRejected) as caught:
        provider.submit(plan, "refused")
    assert caught.value.retry_after_s == 0.0


def test_nothing_is_sent_where_nobody_listens(monkeypatch: pytest.MonkeyPatch, plan: ExecutionPlan) -> None:
    monkeypatch.setenv("BRAKET_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(SubmitRejected) as caught:
        provider_of("braket-iqm-garnet").submit(plan, "t")
    assert not caught.value.permanent


def test_a_header_that_cannot_be_sent_is_a_refusal_that_does_not_quote_it(
    emulator: Emulator, plan: ExecutionPlan
) -> None:
    secrets = {
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_SESSION_TOKEN": "a-secret-token\n",
    }
    session = open_session("eu-north-1", secrets.get, 5.0)
    provider = BraketCloudProvider(load_catalog()["braket-iqm-garnet"], session, "amazon-braket-test")
    with pytest.raises(SubmitRejected, match="check the credentials") as caught:
        provider.submit(plan, "t")
    assert caught.value.ours
    with pytest.raises(ProviderUnavailable, match="check the credentials") as unanswered:
        provider.find("t")
    assert "a-secret-token" not in f"{caught.value} {unanswered.value}"
    assert emulator.posts == 0


def test_limits_are_refused_before_anything_is_sent(
    provider: BraketCloudProvider, emulator: Emulator
) -> None:
    one, many = plan_of([(0, 0)], 10), plan_of([(0, 0)] * 101, 10)
    for plan, token in ((many, "t"), (one, "t" * 65), (one, "a b")):
        with pytest.raises(SubmitRejected) as caught:
            provider.submit(plan, token)
        assert caught.value.permanent
    assert emulator.posts == 0


def test_a_queued_task_is_cancelled_and_costs_nothing(
    provider: BraketCloudProvider, emulator: Emulator, plan: ExecutionPlan
) -> None:
    emulator.hold_as = "QUEUED"
    job_id = provider.submit(plan, "wait")
    report = provider.poll(job_id)
    assert (report.state, report.cost_micro_usd) == (JobState.QUEUED, None)
    with pytest.raises(ProviderUnavailable):
        provider.fetch(job_id, plan)
    report = provider.cancel(job_id)
    assert (report.state, report.cost_micro_usd) == (JobState.CANCELLED, 0)
    assert provider.fetch(job_id, plan).counts.sum() == 0
    emulator.hold_as = None
    assert provider.cancel(provider.submit(plan, "done")).state is JobState.DONE


@pytest.mark.parametrize(
    ("damage", "means"),
    [
        ("missing", ResultMissing),
        ("garbage", ProviderUnavailable),
        ("other qubits", ProviderUnavailable),
    ],
)
def test_a_missing_result_is_told_from_one_that_cannot_be_read(
    provider: BraketCloudProvider,
    emulator: Emulator,
    plan: ExecutionPlan,
    damage: str,
    means: type[Exception],
) -> None:
    job_id = provider.submit(plan, "t")
    (path,) = emulator.results
    text = emulator.results.pop(path)
    if damage != "missing":
        emulator.results[path] = "{" if damage == "garbage" else text.replace("[0, 1, 2, 3]", "[4, 1, 2, 3]")
    with pytest.raises(means):
        provider.fetch(job_id, plan)


def test_questions_without_an_answer_are_unavailable(
    provider: BraketCloudProvider, emulator: Emulator
) -> None:
    emulator.faults += ["ask", "ask"]
    for question in (lambda: provider.find("t"), provider.bill):
        with pytest.raises(ProviderUnavailable):
            question()
    assert emulator.faults == []
    with pytest.raises(JobGone):
        provider.poll(f"{ARN}none")


def test_status_and_calibration_are_the_devices_own(provider: BraketCloudProvider) -> None:
    status = provider.status()
    assert (status.online, status.queue_length) == (True, 4000)
    calibration = provider.calibration(0)
    assert calibration is not None
    assert calibration.two_qubit_error == (((0, 1), pytest.approx(0.01)),)
    assert calibration.readout_error == pytest.approx((0.03, 0.02, 0.04))
    assert calibration.t1_s == pytest.approx((3e-5, 3e-5, 3e-5))
    assert rejection_reason(calibration, calibration.taken_us + 3600 * 10**6) is None


def test_a_device_without_figures_per_qubit_tells_no_calibration() -> None:
    assert read_calibration({"service": {"updatedAt": "2026-11-21T07:00:00"}}) is None


def test_credentials_come_from_the_caller_and_are_never_shown(
    emulator: Emulator, plan: ExecutionPlan, caplog: pytest.LogCaptureFixture
) -> None:
    description: DeviceDescription = load_catalog()["braket-iqm-garnet"]
    with pytest.raises(CannotRunError, match="needs AMZN_BRAKET_OUT_S3_BUCKET"):
        open_provider(description, AdapterContext(secret=lambda name: None))
    caplog.set_level(logging.DEBUG)
    secrets = {
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AMZN_BRAKET_OUT_S3_BUCKET": "bucket",
    }
    provider = open_provider(description, AdapterContext(secret=secrets.get))
    emulator.faults.append("refuse 400 ValidationException")
    with pytest.raises(SubmitRejected) as caught:
        provider.submit(plan, "t")
    assert SECRET not in f"{caught.value!r} {provider!r} {caplog.text}"


@pytest.mark.parametrize("layout", ["files", "inline", "probabilities"])
def test_circuits_of_equal_shots_are_one_task_at_one_fee(emulator: Emulator, layout: str) -> None:
    """Total variation of two draws of 4,000 over 16 states exceeds 0.1 with probability below 1e-6."""
    emulator.inlines_results, emulator.tells_probabilities = layout == "inline", layout == "probabilities"
    provider = provider_of("braket-iqm-garnet")
    plan = plan_of([(0, 0), (0, 1), (1, 0), (0, 0)], 4000)
    job_id = provider.submit(plan, "set")
    assert provider.submit(plan, "set") == job_id
    assert len(emulator.tasks) == 1
    assert provider.poll(job_id).cost_micro_usd == 300_000 + 16_000 * 1_450
    outcome, exact = provider.fetch(job_id, plan), JaxDevice().sample(plan)
    assert outcome.shots.tolist() == [4000] * 4
    assert all(distance(outcome, exact, row) < 0.1 for row in range(len(plan)))


def test_what_succeeded_of_a_program_set_is_returned_and_billed(
    provider: BraketCloudProvider, emulator: Emulator
) -> None:
    plan = plan_of([(0, 0), (0, 1), (1, 0)], 100)
    emulator.failing, emulator.hold_as = {(1, 0)}, "FAILED"
    job_id = provider.submit(plan, "set")
    emulator.tasks[job_id]["numSuccessfulShots"] = 200
    report = provider.poll(job_id)
    assert (report.state, report.cost_micro_usd) == (JobState.FAILED, 300_000 + 200 * 1_450)
    assert provider.fetch(job_id, plan).shots.tolist() == [100, 0, 100]


def test_a_program_set_of_other_circuits_is_not_taken_for_the_plan_s(
    provider: BraketCloudProvider, emulator: Emulator
) -> None:
    job_id = provider.submit(plan_of([(0, 0), (0, 1)], 100), "set")
    with pytest.raises(ProviderUnavailable, match="2 circuits were measured, 3 were asked for"):
        provider.fetch(job_id, plan_of([(0, 0), (0, 1), (1, 0)], 100))
