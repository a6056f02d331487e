"""The device catalog: its data, its errors, limits and usage, and local devices as providers."""

import subprocess
import sys
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from backends.calibration import rejection_reason
from backends.catalog import (
    ADAPTERS,
    AdapterContext,
    CatalogProvider,
    DeviceDescription,
    LocalProvider,
    QueueModel,
    calibration_of,
    cost_of_end,
    fees_of,
    jobs_needed,
    jobs_refusal,
    join_outcomes,
    load_catalog,
    open_provider,
    refusal,
    split_plan,
    usage_of,
)
from backends.dispatch import RoutingRequest, select
from backends.fleet import Fleet, fleet_names
from backends.jax_device import JaxDevice
from backends.prices import FailureBilling, Price, Usage
from backends.provider import JobGone, JobState, ResultMissing, SubmitRejected
from backends.transpile.success import HardwareUse
from measurement.grouping import qubit_wise_commuting
from measurement.plan import Bases, ExecutionPlan
from problems.circuit import Circuit, Rotation
from problems.pauli import PauliSum
from shotwise.errors import CannotRunError, SpecError

NOW_US = 1_795_000_000_000_000
DEVICE = """
[device.mine]
provider = "jax"
description = "mine"
n_qubits = 4
shots_max = 100
circuits_max = 3
price = "free"
queue = "none"
enabled = true
"""


def plan_of(shots: list[int]) -> ExecutionPlan:
    circuit = Circuit.build(2, [Rotation(0b01, 0, None, 0), Rotation(0b10, 0b10, None, 1)])
    n = len(shots)
    angles = circuit.angles(np.array([[0.3, 1.1]]))
    bases = Bases(np.array([0]), np.array([0]))
    return ExecutionPlan(circuit, angles, bases, np.zeros(n, int), np.zeros(n, int), np.array(shots), (7, 3))


def described(**changes: object) -> DeviceDescription:
    return DeviceDescription.model_validate({**load_catalog()["jax"].model_dump(), **changes})


def test_the_shipped_devices() -> None:
    catalog = load_catalog()
    noisy = [device for device in catalog if device.provider == "ibm-snapshot"]
    assert len(noisy) >= 20
    assert {device.n_qubits for device in noisy} >= {5, 7, 16, 27, 65, 127, 156}
    assert {"jax", "lightning", "braket-local"} < set(catalog.names)
    cloud = [device for device in catalog if device.provider.endswith("-cloud")]
    assert {device.provider for device in cloud} == {"ibm-cloud", "braket-cloud"}
    assert not any(device.enabled for device in cloud)
    assert list(catalog.names) == sorted(catalog.names)
    for device in catalog:
        assert device.provider in ADAPTERS
        assert device.price.is_free or (device.price.date and device.price.source)
        if device.provider == "ibm-snapshot":
            assert "not of this device" in device.description


def test_simulated_devices_are_described_as_their_snapshots_are() -> None:
    snapshots = pytest.importorskip("backends.aer.snapshots")
    for device in load_catalog():
        if device.provider == "ibm-snapshot":
            snapshot = snapshots.load_snapshot(device.vendor_name)
            assert device.n_qubits == snapshot.calibration.n_qubits
            assert device.shots_max == snapshot.shots_max
            assert device.circuits_max == snapshot.circuits_max
            assert set(device.native_gates) <= set(snapshot.native_gates)


def test_calibrations_are_told_without_opening_devices_and_bad_ones_are_distrusted() -> None:
    pytest.importorskip("qiskit_ibm_runtime")
    reasons = {}
    for device in load_catalog():
        calibration = calibration_of(device, NOW_US)
        assert (calibration is not None) == (device.calibration == "snapshot")
        if calibration is not None:
            assert NOW_US - calibration.taken_us == 3600 * 10**6
            reasons[device.name] = rejection_reason(calibration, NOW_US)
    bad = {name for name, reason in reasons.items() if reason}
    assert bad == {"sim-kyoto", "sim-kingston"}
    old = load_catalog()["sim-manila"].model_copy(update={"calibration_age_s": 48 * 3600.0})
    assert "2 days old" in (rejection_reason(calibration_of(old, NOW_US), NOW_US) or "")
    recent = calibration_of(load_catalog()["sim-manila"], NOW_US - 1_800_000_000)
    reason = rejection_reason(recent, NOW_US - 3_000_000_000, stale_after_s=10.0)
    assert reason == "calibration 40 min old, limit 10 s"


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120
    )


def test_listing_devices_imports_no_sdk() -> None:
    code = """
import sys
from backends.catalog import calibration_of, load_catalog
for device in load_catalog():
    calibration_of(device, 0)
heavy = ("qiskit", "qiskit_ibm_runtime", "braket", "boto3", "pennylane", "jax")
print([name for name in heavy if name in sys.modules])
"""
    assert run_python(code).stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("device", "package", "extra"),
    [
        ("sim-manila", "qiskit_aer", "ibm"),
        ("ibm-fez", "qiskit_ibm_runtime", "ibm"),
        ("braket-local", "braket", "braket"),
        ("braket-sv1", "boto3", "braket"),
    ],
)
def test_a_missing_extra_is_one_line(device: str, package: str, extra: str) -> None:
    code = f"""
import sys
sys.modules["{package}"] = None
from backends.catalog import load_catalog, open_provider
from shotwise.errors import CannotRunError
try:
    open_provider(load_catalog()["{device}"])
except CannotRunError as error:
    print(error)
"""
    text = run_python(code).stdout
    assert text.startswith("execution.device: needs ")
    assert text.endswith(f"(got '{device}'); install shotwise[{extra}]\n")


def test_an_unknown_device_or_adapter_is_told() -> None:
    with pytest.raises(CannotRunError, match="did you mean sim-manila"):
        load_catalog()["manila"]
    with pytest.raises(CannotRunError, match=r"no such device \(got 'x'\); `shotwise devices --all` lists"):
        load_catalog()["x"]
    with pytest.raises(CannotRunError, match="no such adapter"):
        open_provider(described(provider="nobody"))


@pytest.mark.parametrize(
    ("text", "place", "problem"),
    [
        ("[device.mine", "mine.toml: file", "cannot be read as TOML"),
        ("[devices.mine]", "mine.toml: devices", "unknown section"),
        ("device = 3", "mine.toml: device", "not a table"),
        ("[device]\nmine = 3", "mine.toml: device.mine", "not a table"),
        (
            DEVICE.replace("n_qubits = 4", "n_qubits = 0"),
            "mine.toml: device.mine.n_qubits",
            "give at least 1",
        ),
        (DEVICE.replace("n_qubits = 4", ""), "mine.toml: device.mine.n_qubits", "missing; add it"),
        (DEVICE.replace("n_qubits", "qubits"), "mine.toml: device.mine.qubits", "did you mean `n_qubits`?"),
        (DEVICE + "colour = 1", "mine.toml: device.mine.colour", "unknown key (got 1); remove it"),
        (
            DEVICE + 'connectivity = "some"',
            "mine.toml: device.mine.connectivity",
            "use 'all' or 'snapshot' or",
        ),
        (DEVICE + "honours_tokens = true", "mine.toml: device.mine.honours_tokens", "delete this line"),
        ("[device.jax]\nsimulated = true", "mine.toml: device.jax.simulated", "delete this line"),
        (DEVICE.replace('"free"', '"gratis"'), "mine.toml: device.mine.price", "no such name"),
        (
            DEVICE.replace('"free"', "{ per_shot_usd = -1 }"),
            "mine.toml: device.mine.price.per_shot_usd",
            "give at least 0",
        ),
        (
            DEVICE.replace('"free"', "{ per_shot_usd = nan }"),
            "mine.toml: device.mine.price.per_shot_usd",
            "finite",
        ),
        (DEVICE.replace('"free"', "{ per_shot_usd = 1 }"), "mine.toml: device.mine", "price has no date"),
        (DEVICE + "connectivity = [[0, 4]]", "mine.toml: device.mine", "beyond 3"),
        (DEVICE + "submits_per_minute_max = inf", "mine.toml: device.mine.submits_per_minute_max", "finite"),
        (
            DEVICE.replace("device.mine", 'device."../x"'),
            "mine.toml: device.../x.name",
            "use small letters, digits",
        ),
    ],
)
def test_a_mistake_is_one_line_with_file_and_key(tmp_path: Path, text: str, place: str, problem: str) -> None:
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(SpecError) as caught:
        load_catalog(tmp_path)
    assert str(caught.value).startswith(f"{place}: ")
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_may_not_contradict_each_other(tmp_path: Path) -> None:
    for name in ("one.toml", "two.toml"):
        (tmp_path / name).write_text(DEVICE)
    with pytest.raises(SpecError, match=r"two.toml: device.mine: already in one.toml"):
        load_catalog(tmp_path)
    with pytest.raises(SpecError, match="no such folder"):
        load_catalog(tmp_path / "nowhere")


def test_a_folder_adds_devices_and_changes_devices_and_prices(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(
        DEVICE + '[price.ibm-flex]\nper_second_usd = 0.7\ndate = "2027-01-01"\nsource = "my contract"\n'
        "[device.jax]\n" + DEVICE.split("\n", 2)[2]
    )
    catalog = load_catalog(tmp_path)
    assert catalog["mine"].n_qubits == catalog["jax"].n_qubits == 4
    assert catalog["sim-kolkata"].price.per_second_usd == Decimal("0.7")
    assert len(catalog) == len(load_catalog()) + 1
    assert catalog["mine"] in catalog.enabled


def test_descriptions_are_frozen_and_exact() -> None:
    device = load_catalog()["braket-iqm-garnet"]
    assert device.price.per_shot_usd == Decimal("0.00145")
    with pytest.raises(ValidationError):
        device.n_qubits = 3  # type: ignore[misc]


def test_limits_are_told() -> None:
    device = described(n_qubits=2, shots_max=100, circuits_max=3, equal_shots=True)
    assert refusal(plan_of([100, 100]), device) is None
    assert "limit 3" in (refusal(plan_of([1] * 4), device) or "")
    assert "limit 100" in (refusal(plan_of([101]), device) or "")
    assert "different shots" in (refusal(plan_of([1, 2]), device) or "")
    assert "no shots" in (refusal(plan_of([0]), device) or "")
    assert "qubits" in (refusal(plan_of([1]), described(n_qubits=1)) or "")


@pytest.mark.parametrize("limits", [{}, {"equal_shots": True}, {"equal_shots": True, "job_shots_max": 250}])
@pytest.mark.parametrize("seed", range(5))
def test_a_split_plan_fits_and_buys_every_shot(seed: int, limits: dict) -> None:
    """Once where circuits may differ in shots; with less than a circuit's more where they may not."""
    rng = np.random.default_rng(seed)
    plan = plan_of([int(s) for s in rng.integers(0, 350, 11)])
    device = described(shots_max=100, circuits_max=3, **limits)
    batches = split_plan(plan, device)
    assert jobs_needed(plan, device) == len(batches)
    assert all(refusal(batch.plan, device) is None for batch in batches)
    assert len({batch.plan.seed for batch in batches}) == len(batches)
    joined = join_outcomes(plan, batches, [JaxDevice().sample(batch.plan) for batch in batches])
    circuit = int(batches[0].plan.shots[0]) if limits else 1
    assert joined.shots.tolist() == (-(-plan.shots // circuit) * circuit).tolist()
    assert len(joined.row(0)[0]) == len(set(joined.row(0)[0].tolist()))


def test_rows_of_different_shots_share_a_job_as_circuits_of_equal_shots() -> None:
    """Of the three ways in question a job of four circuits is cheapest, by a fee or by 70 shots."""
    price = {"per_task_usd": "0.3", "per_shot_usd": "0.01", "date": "2026-11-28", "source": "here"}
    device = described(shots_max=1000, circuits_max=100, equal_shots=True, price=price)
    (batch,) = split_plan(plan_of([30, 100]), device)
    assert (batch.rows.tolist(), batch.plan.shots.tolist()) == ([0] * 3 + [1] * 10, [10] * 13)
    few = described(shots_max=1000, circuits_max=5, equal_shots=True, price=price)
    (batch,) = split_plan(plan_of([30, 100]), few)
    assert (batch.rows.tolist(), batch.plan.shots.tolist()) == ([0, 1, 1, 1], [34] * 4)


def test_fees_are_what_a_job_and_a_circuit_cost_before_a_shot() -> None:
    catalog = load_catalog()
    assert fees_of(catalog["jax"]).of(1000) == 0.0
    garnet = fees_of(catalog["braket-iqm-garnet"])
    assert garnet.of(100) == pytest.approx(0.30 / 0.00145) == garnet.of(101) / 2
    fez = fees_of(catalog["ibm-fez"])  # 5 s a job, 0.1 s a circuit and 0.5 ms a shot at one price
    assert fez.of(3) == pytest.approx(10_000 + 3 * 200)


def test_too_many_jobs_are_counted_without_being_made() -> None:
    device = described(shots_max=100, circuits_max=3)
    assert jobs_refusal(plan_of([300_000]), device) is None
    assert jobs_refusal(plan_of([300_001]), device) == "would take 1,001 jobs, more than 1,000"
    assert jobs_needed(plan_of([10**15]), device) == -(-(10**13) // 3)


def test_a_plan_that_fits_stays_as_it_is() -> None:
    plan = plan_of([5, 6])
    (batch,) = split_plan(plan, described())
    assert batch.plan is plan


def test_usage_counts_tasks_shots_gates_and_seconds() -> None:
    use = HardwareUse((0, 1), ((0, 3), (1, 2)), (((0, 1), 4),), (), 1e-6)
    queue = {"seconds_per_job": 2, "seconds_per_circuit": "0.5", "seconds_per_shot": "0.01"}
    usage = usage_of(plan_of([10, 20]), described(queue=queue), use)
    assert usage == Usage(
        tasks=1,
        shots=30,
        one_qubit_gate_shots=150,
        two_qubit_gate_shots=120,
        measured_qubit_shots=60,
        seconds=Decimal("3.3"),
    )
    assert usage_of(plan_of([1]), described()).two_qubit_gate_shots == 0


@pytest.mark.parametrize(
    ("rule", "expected"),
    [("none", 0), ("task_fee", 300_000), ("done_shots", 310_000), ("full", 400_000)],
)
def test_a_failure_costs_what_the_rule_says(rule: str, expected: int) -> None:
    price = Price(
        per_task_usd=Decimal("0.3"), per_shot_usd=Decimal("0.001"), failure_billing=FailureBilling(rule)
    )
    asked, used = Usage(shots=100), Usage(shots=10)
    assert cost_of_end(price, done=False, asked=asked, used=used) == expected
    assert cost_of_end(price, done=True, asked=asked, used=used) == 310_000


def test_waits_are_log_normal() -> None:
    """The median of 10,000 draws is within 5 % of the model's: false alarm below 1e-4."""
    queue = QueueModel(median_s=600, sigma=1.2, date="d", source="s")
    rng = np.random.default_rng(0)
    waits = np.array([queue.draw_s(rng) for _ in range(10_000)])
    assert np.median(waits) == pytest.approx(600, rel=0.05)
    assert np.log(waits).std() == pytest.approx(1.2, rel=0.05)
    assert queue.mean_s == pytest.approx(600 * np.exp(0.72))


def priced() -> DeviceDescription:
    price = {"per_task_usd": "0.3", "per_shot_usd": "0.01", "date": "d", "source": "s"}
    queue = {"median_s": 60, "sigma": 1, "date": "d", "source": "s"}
    return described(price=price, queue=queue, shots_max=1000, circuits_max=10)


@pytest.mark.parametrize("name", ["jax", "lightning"])
def test_local_devices_are_providers(name: str) -> None:
    provider, plan = open_provider(load_catalog()[name]), plan_of([50])
    assert isinstance(provider, CatalogProvider)
    assert isinstance(provider, LocalProvider)
    job_id = provider.submit(plan, "t")
    assert provider.fetch(job_id, plan).counts.sum() == 50
    assert provider.calibration(0) is None
    assert provider.hardware_use(plan) is None
    assert provider.status().online


def test_a_local_job_is_one_job_a_token_and_keeps_its_bill(tmp_path: Path) -> None:
    plan = plan_of([50, 50])
    provider = LocalProvider(priced(), JaxDevice(), folder=tmp_path)
    job_id = provider.submit(plan, "token_1-a")
    assert provider.submit(plan, "token_1-a") == job_id
    assert provider.find("token_1-a") == [job_id]
    report = provider.poll(job_id)
    assert (report.state, report.cost_micro_usd) == (JobState.DONE, 1_300_000)
    assert provider.cancel(job_id) == report
    assert provider.queue_s(job_id) == provider.queue_s(job_id) > 0

    again = LocalProvider(priced(), JaxDevice(), folder=tmp_path)
    assert again.find("token_1-a") == [job_id]
    assert [(line.token, line.cost_micro_usd) for line in again.bill()] == [("token_1-a", 1_300_000)]
    assert again.fetch(job_id, plan).to_bytes() == provider.fetch(job_id, plan).to_bytes()

    elsewhere = LocalProvider(priced(), JaxDevice())
    assert elsewhere.find("token_1-a") == []
    assert elsewhere.poll(job_id).cost_micro_usd is None
    assert elsewhere.fetch(job_id, plan).counts.sum() == 100


def test_a_local_job_keeps_to_its_plan_and_limits(tmp_path: Path) -> None:
    plan = plan_of([50])
    provider = LocalProvider(priced(), JaxDevice(), folder=tmp_path)
    job_id = provider.submit(plan, "t")
    other = replace(plan, seed=(8,))
    with pytest.raises(ResultMissing):
        provider.fetch(job_id, other)
    for wrong, token in ((other, "t"), (plan_of([5000]), "u"), (plan, ""), (plan, "t" * 65), (plan, "../t")):
        with pytest.raises(SubmitRejected) as caught:
            provider.submit(wrong, token)
        assert caught.value.permanent
    with pytest.raises(JobGone):
        provider.poll("somebody-elses")
    assert len(provider.bill()) == 1


def test_secrets_are_not_shown() -> None:
    assert "secret" not in repr(AdapterContext(secret={"secret": "value"}.get))


def test_a_cloud_device_is_enabled_in_the_folder_that_the_environment_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.toml").write_text("[device.ibm-fez]\nenabled = true\n")
    before = load_catalog()["ibm-fez"]
    monkeypatch.setenv("SHOTWISE_CATALOG", str(tmp_path))
    assert load_catalog()["ibm-fez"] == before.model_copy(update={"enabled": True})
    assert "ibm-fez" in fleet_names(None)


def test_why_a_device_cannot_be_opened_names_the_field_once() -> None:
    pytest.importorskip("qiskit_ibm_runtime")
    fleet, observable = Fleet(("ibm-fez",), secret=lambda _: None), PauliSum.from_strings({"ZZ": 1.0})
    candidates = fleet.candidates(plan_of([5]), qubit_wise_commuting(observable), observable)
    with pytest.raises(CannotRunError) as caught:
        select(candidates, RoutingRequest(), "single:ibm-fez")
    text = str(caught.value)
    assert text.startswith("execution.device: no device can take this batch: needs QISKIT_IBM_TOKEN; set")
    assert text.count("execution.device") == text.count("got 'ibm-fez'") == 1
