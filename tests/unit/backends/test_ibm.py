"""The IBM adapter against IBM's REST API, emulated over HTTP with the SDK's own encodings."""

import logging
from collections.abc import Iterator

import numpy as np
import pytest

pytest.importorskip("qiskit_ibm_runtime")


from backends.catalog import AdapterContext, CatalogProvider, DeviceDescription, load_catalog, open_provider
from backends.ibm.account import IbmAccount
from backends.ibm.cloud_provider import IbmCloudProvider
from backends.jax_device import JaxDevice
from backends.provider import (
    JobGone,
    JobState,
    ProviderUnavailable,
    ResultMissing,
    SubmitRejected,
    SubmitUnknown,
)
from measurement.plan import Bases, ExecutionPlan
from problems.circuit import Circuit, Rotation
from shotwise.errors import CannotRunError
from tests.unit.backends.emulating import running
from tests.unit.backends.ibm_emulator import BACKEND, CRN, KEY, Emulator


@pytest.fixture
def emulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    with running(Emulator()) as server:
        monkeypatch.setenv("IAM_URL", server.url)
        monkeypatch.setenv("USAGE_DATA_OPT_OUT", "True")  # the SDK would walk the stack at every request
        yield server


@pytest.fixture
def description() -> DeviceDescription:
    whole = load_catalog()["ibm-fez"].model_dump()
    return DeviceDescription.model_validate({**whole, "vendor_name": BACKEND, "n_qubits": 5})


@pytest.fixture
def provider(emulator: Emulator, description: DeviceDescription) -> IbmCloudProvider:
    return IbmCloudProvider(description, IbmAccount(KEY, CRN, api_url=emulator.url, timeout_s=5.0))


@pytest.fixture
def plan() -> ExecutionPlan:
    rotations = [
        Rotation(0b0001, 0b0001, None, 0),
        Rotation(0b0011, 0, 0b01, 1),
        Rotation(0b1111, 0, 0b0011, 2),
        Rotation(0, 0b0101, offset=0.5),
        Rotation(0b0110, 0b0010, None, 0, 0.5),
    ]
    circuit = Circuit.build(4, rotations, initial_state=0b0011)
    angles = circuit.angles(np.random.default_rng(3).normal(size=(2, 3)))
    bases = Bases(np.array([0, 0b0111]), np.array([0, 0b1010]))
    point, basis = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
    return ExecutionPlan(circuit, angles, bases, point, basis, np.full(4, 4000), (5, 1))


def test_a_job_is_bought_found_polled_fetched_and_billed(
    provider: IbmCloudProvider, emulator: Emulator, plan: ExecutionPlan
) -> None:
    """Total variation of two draws of 4,000 over 16 states exceeds 0.1 with probability below 1e-6."""
    assert isinstance(provider, CatalogProvider)
    assert not provider.honours_tokens
    job_id = provider.submit(plan, "token-1")
    assert provider.find("token-1") == [job_id]
    assert provider.find("token-2") == []
    report = provider.poll(job_id)
    assert (report.state, report.cost_micro_usd) == (JobState.DONE, 4_800_000)  # 3 s at 1.60
    outcome, exact = provider.fetch(job_id, plan), JaxDevice().sample(plan)
    for row in range(len(plan)):
        both = np.zeros((2, 16))
        for which, source in enumerate((outcome, exact)):
            states, counts = source.row(row)
            both[which, states] = counts / counts.sum()
        assert np.abs(both[0] - both[1]).sum() / 2 < 0.1
    (line,) = provider.bill()
    assert (line.job_id, line.token, line.cost_micro_usd) == (job_id, "token-1", 4_800_000)
    assert emulator.jobs[job_id]["tags"] == ["shotwise", "token-1"]
    assert emulator.jobs[job_id]["cost"] == 14  # 5 + 4 * 0.1 + 16,000 * 0.0005 s, IBM's limit of run time


@pytest.mark.parametrize(
    ("seconds_per_job", "limit"), [("0", 1), ("0.2", 1), ("1.0", 1), ("1.2", 2), ("6.5", 7)]
)
def test_every_job_has_a_limit_of_run_time_and_is_quoted_at_it(
    emulator: Emulator,
    description: DeviceDescription,
    plan: ExecutionPlan,
    seconds_per_job: str,
    limit: int,
) -> None:
    queue = {"seconds_per_job": seconds_per_job}
    measured = DeviceDescription.model_validate(description.model_dump() | {"queue": queue})
    provider = IbmCloudProvider(measured, IbmAccount(KEY, CRN, api_url=emulator.url))
    sent = emulator.jobs[provider.submit(plan, "short")]
    assert sent["cost"] == provider.usage(plan, None).seconds == limit


def test_a_device_that_is_paid_by_the_second_needs_run_times(description: DeviceDescription) -> None:
    timeless = DeviceDescription.model_validate(description.model_dump() | {"queue": {}})
    with pytest.raises(CannotRunError, match=r"device.ibm-fez.queue.*seconds_per_job"):
        open_provider(timeless, AdapterContext(secret=lambda name: "something"))


def test_all_pages_of_jobs_are_read(provider: IbmCloudProvider, plan: ExecutionPlan) -> None:
    jobs = [provider.submit(plan, "same") for _ in range(5)]
    assert sorted(provider.find("same")) == jobs
    assert len(provider.bill()) == 5


@pytest.mark.parametrize(
    "fault", ["accept500", "accept502", "accept503", "accept504", "accept409", "drop", "garbage"]
)
def test_a_lost_answer_is_unknown_is_never_repeated_and_the_tag_finds_the_job(
    provider: IbmCloudProvider, emulator: Emulator, plan: ExecutionPlan, fault: str
) -> None:
    emulator.faults.append(fault)
    with pytest.raises(SubmitUnknown):
        provider.submit(plan, "lost")
    assert emulator.faults == []
    assert emulator.posts == 1  # the SDK's session would have posted again
    assert provider.find("lost") == ["job0"]


def test_a_timeout_is_unknown(
    emulator: Emulator, description: DeviceDescription, plan: ExecutionPlan
) -> None:
    provider = IbmCloudProvider(description, IbmAccount(KEY, CRN, api_url=emulator.url, timeout_s=2.0))
    provider.hardware_use(plan)
    emulator.faults.append("late")
    with pytest.raises(SubmitUnknown):
        provider.submit(plan, "slow")
    assert len(provider.find("slow")) == 1


@pytest.mark.parametrize(
    ("status", "permanent", "ours"),
    [
        (400, True, False),
        (401, True, True),
        (402, True, True),
        (403, True, True),
        (422, True, False),
        (429, False, False),
    ],
)
def test_a_refusal_bought_nothing(
    provider: IbmCloudProvider,
    emulator: Emulator,
    plan: ExecutionPlan,
    status: int,
    permanent: bool,
    ours: bool,
) -> None:
    emulator.faults.append(f"refuse{status}")
    with pytest.raises(SubmitRejected) as caught:
        provider.submit(plan, "refused")
    assert (caught.value.permanent, caught.value.ours) == (permanent, ours)
    assert caught.value.retry_after_s == (7.0 if status == 429 else None)
    assert KEY not in str(caught.value)
    assert provider.find("refused") == []


def test_a_wait_may_be_told_as_a_date(
    provider: IbmCloudProvider, emulator: Emulator, plan: ExecutionPlan
) -> None:
    emulator.faults.append("refuse429")
    emulator.retry_after = "Wed, 21 Oct 2015 07:28:00 GMT"
    with pytest.raises(SubmitRejected) as caught:
        provider.submit(plan, "refused")
    assert caught.value.retry_after_s == 0.0


def test_nothing_is_sent_where_nobody_listens(
    description: DeviceDescription, plan: ExecutionPlan, emulator: Emulator
) -> None:
    provider = IbmCloudProvider(description, IbmAccount(KEY, CRN, api_url=emulator.url))
    provider.hardware_use(plan)  # configuration and calibration are known
    provider._account.api.session.base_url = "http://127.0.0.1:9"
    with pytest.raises(SubmitRejected) as caught:
        provider.submit(plan, "unheard")
    assert not caught.value.permanent


def test_a_wrong_key_sends_nothing_and_is_never_shown(
    emulator: Emulator, description: DeviceDescription, plan: ExecutionPlan, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    account = IbmAccount("another-secret", CRN, api_url=emulator.url)
    provider = IbmCloudProvider(description, account)
    with pytest.raises(SubmitRejected) as caught:
        provider.submit(plan, "x")
    shown = f"{caught.value!r} {provider!r} {account!r} {caplog.text}"
    assert "another-secret" not in shown
    assert emulator.posts == 0


def test_a_header_that_cannot_be_sent_is_a_refusal_that_does_not_quote_it(
    provider: IbmCloudProvider, emulator: Emulator, plan: ExecutionPlan
) -> None:
    provider.hardware_use(plan)
    provider._account = IbmAccount(KEY, f"{CRN}\n", api_url=emulator.url)
    with pytest.raises(SubmitRejected, match="check the credentials") as caught:
        provider.submit(plan, "x")
    assert caught.value.ours
    with pytest.raises(ProviderUnavailable, match="check the credentials") as unanswered:
        provider.find("x")
    assert CRN not in f"{caught.value} {unanswered.value}"
    assert emulator.posts == 0


def test_limits_are_refused_before_anything_is_sent(
    provider: IbmCloudProvider, emulator: Emulator, plan: ExecutionPlan
) -> None:
    from dataclasses import replace

    uneven = replace(plan, shots=np.array([1, 2, 3, 4]))
    for wrong, token in ((uneven, "t"), (plan, "t" * 65), (plan, "a b")):
        with pytest.raises(SubmitRejected) as caught:
            provider.submit(wrong, token)
        assert caught.value.permanent
    assert emulator.posts == 0


def test_a_queued_job_is_cancelled_and_measured_nothing(
    provider: IbmCloudProvider, emulator: Emulator, plan: ExecutionPlan
) -> None:
    emulator.hold_as = "Queued"
    job_id = provider.submit(plan, "wait")
    report = provider.poll(job_id)
    assert (report.state, report.cost_micro_usd) == (JobState.QUEUED, None)
    with pytest.raises(ProviderUnavailable):
        provider.fetch(job_id, plan)
    assert provider.bill() == []
    assert provider.cancel(job_id).state is JobState.CANCELLED
    assert provider.fetch(job_id, plan).counts.sum() == 0


def test_cancelling_an_ended_job_tells_its_end(provider: IbmCloudProvider, plan: ExecutionPlan) -> None:
    assert provider.cancel(provider.submit(plan, "done")).state is JobState.DONE


def test_a_cancellation_sends_no_bare_key(
    provider: IbmCloudProvider, plan: ExecutionPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id, sent = provider.submit(plan, "kept"), []

    def refuse(_: IbmAccount) -> None:
        raise ProviderUnavailable("no token")

    monkeypatch.setattr(IbmAccount, "authenticate", refuse)
    monkeypatch.setattr(provider._account.api, "program_job", sent.append)
    with pytest.raises(ProviderUnavailable):
        provider.cancel(job_id)
    assert sent == []


def test_a_job_stopped_at_its_limit_failed(
    provider: IbmCloudProvider, emulator: Emulator, plan: ExecutionPlan
) -> None:
    job_id = provider.submit(plan, "long")
    emulator.jobs[job_id]["state"] = {"status": "Cancelled", "reason": "ran too long", "reason_code": 1305}
    report = provider.poll(job_id)
    assert (report.state, report.message) == (JobState.FAILED, "ran too long")


@pytest.mark.parametrize(
    ("result", "means"),
    [
        ("404", ResultMissing),
        ("", ResultMissing),
        ("{", ProviderUnavailable),
        ('{"pub_results": 1}', ProviderUnavailable),
    ],
)
def test_a_missing_result_is_told_from_one_that_cannot_be_read(
    provider: IbmCloudProvider,
    emulator: Emulator,
    plan: ExecutionPlan,
    result: str,
    means: type[Exception],
) -> None:
    job_id = provider.submit(plan, "empty")
    emulator.result = result
    with pytest.raises(means):
        provider.fetch(job_id, plan)


def test_questions_without_an_answer_are_unavailable(
    provider: IbmCloudProvider, emulator: Emulator, plan: ExecutionPlan
) -> None:
    job_id = provider.submit(plan, "t")
    for question in (
        lambda: provider.poll(job_id),
        lambda: provider.find("t"),
        provider.bill,
        provider.status,
    ):
        emulator.faults.append("ask502")
        with pytest.raises(ProviderUnavailable):
            question()
        assert emulator.faults == []
    with pytest.raises(JobGone):
        provider.poll("no-such-job")


def test_status_and_calibration_are_the_backends_own(provider: IbmCloudProvider, emulator: Emulator) -> None:
    status = provider.status()
    assert (status.online, status.queue_length) == (True, 12)
    calibration = provider.calibration(0)
    assert calibration.n_qubits == 5
    assert calibration is provider.calibration(1)
    emulator.faults.append("ask500")
    with pytest.raises(ProviderUnavailable):
        provider.calibration(10**15)


def test_credentials_come_from_the_caller(description: DeviceDescription) -> None:
    with pytest.raises(CannotRunError, match="needs QISKIT_IBM_TOKEN"):
        open_provider(description, AdapterContext(secret=lambda name: None))
    secrets = {"QISKIT_IBM_TOKEN": KEY, "QISKIT_IBM_INSTANCE": CRN}
    context = AdapterContext(secret=secrets.get)
    assert open_provider(description, context).name == "ibm-fez"
    assert KEY not in repr(context)
