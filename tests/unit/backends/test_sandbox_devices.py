"""What sandbox devices do to counts, calibrations and bills, without HTTP."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from backends.jax_device import JaxDevice
from backends.prices import FailureBilling, Price
from backends.provider import JobState
from backends.sandbox.devices import load_devices
from backends.sandbox.drift import errors_at, snapshot_at
from backends.sandbox.messages import CalibrationMessage, QueueModel
from backends.sandbox.sampling import measure, shots_run, survival
from backends.sandbox.usage import cost_micro_usd, gate_counts, scaled, usage_of
from measurement import Bases, ExecutionPlan
from problems.circuit import Circuit, Rotation
from shotwise.errors import CannotRunError

DEVICES = load_devices()
NOON_US = 1_760_000_400_000_000


def make_plan(shots: int) -> ExecutionPlan:
    circuit = Circuit.build(
        3,
        [Rotation(0b011, 0b100, 0b001, 0), Rotation(0b101, 0b001, None, 1), *5 * [Rotation(0, 7, None, 0)]],
        initial_state=0b001,
    )
    bases = Bases(np.array([0]), np.array([0]))
    zero = np.array([0])
    return ExecutionPlan(
        circuit, circuit.angles(np.array([[0.7, 0.9]])), bases, zero, zero, np.array([shots]), (3, 4)
    )


def test_the_default_devices_say_where_their_prices_are_from() -> None:
    assert {"sandbox-ideal", "sandbox-noisy", "sandbox-cheap", "sandbox-slow"} <= set(DEVICES)
    assert all(device.price.date and device.price.source for device in DEVICES.values())
    assert {device.honours_tokens for device in DEVICES.values()} == {True, False}


def test_the_ideal_device_is_the_simulator() -> None:
    plan = make_plan(1000)
    found = measure(DEVICES["sandbox-ideal"], plan, 1000, NOON_US)
    assert found.to_bytes() == JaxDevice().sample(plan).to_bytes()


def test_noise_is_depolarisation_and_readout() -> None:
    """Total variation of 40,000 draws over 8 states exceeds 0.02 with probability below 1e-4; seed fixed."""
    shots = 40_000
    plan, device = make_plan(shots), DEVICES["sandbox-cheap"]
    errors = errors_at(device, NOON_US)
    states, counts = JaxDevice().sample(make_plan(shots)).row(0)
    expected = np.zeros(8)
    expected[states] = counts / shots
    kept = survival(plan.circuit, errors)
    expected = kept * expected + (1 - kept) / 8
    for qubit in range(3):
        flip, flipped = errors.readout_error[qubit], expected[np.arange(8) ^ (1 << qubit)]
        expected = (1 - flip) * expected + flip * flipped
    states, counts = measure(device, plan, shots, NOON_US).row(0)
    found = np.zeros(8)
    found[states] = counts / shots
    assert 0.5 < kept < 0.9
    assert 0.5 * np.abs(found - expected).sum() < 0.02


@pytest.mark.parametrize("name", ["sandbox-noisy", "sandbox-cheap", "sandbox-slow"])
def test_noise_is_a_function_of_the_seed_alone(name: str) -> None:
    """On any day: only sandbox-drifting depends on the time."""
    plan = make_plan(500)
    days = [measure(DEVICES[name], plan, 500, NOON_US + day * 86_400_000_000).to_bytes() for day in range(3)]
    assert len(set(days)) == 1


def test_errors_drift_and_snapshots_lag_behind() -> None:
    device = DEVICES["sandbox-drifting"]
    hours = [errors_at(device, NOON_US + hour * 3_600_000_000).readout_error[0] for hour in range(12)]
    assert max(hours) / min(hours) > 2
    assert all(0 < error < 0.5 for error in hours)
    first, same, later = (snapshot_at(device, NOON_US + s * 1_000_000) for s in (0, 60, 7200))
    assert first == same != later
    assert 0 <= NOON_US - first.taken_us < 3_600_000_000


def test_a_calibration_survives_the_wire() -> None:
    calibration = snapshot_at(DEVICES["sandbox-noisy"], NOON_US)
    message = CalibrationMessage.of(calibration)
    assert CalibrationMessage.model_validate_json(message.model_dump_json()).calibration() == calibration
    bad = message.model_copy(update={"readout_error": (float("nan"), float("inf"))})
    back = CalibrationMessage.model_validate_json(bad.model_dump_json()).readout_error
    assert np.isnan(back[0])
    assert back[1] == float("inf")


@pytest.mark.parametrize(
    ("done", "rows"), [(0, [0, 0, 0]), (7, [7, 0, 0]), (12, [10, 2, 0]), (35, [10, 5, 20]), (99, [10, 5, 20])]
)
def test_shots_run_row_by_row(done: int, rows: list[int]) -> None:
    assert shots_run(np.array([10, 5, 20]), done).tolist() == rows


def test_gates_are_counted() -> None:
    single, double = Rotation(0b011, 0b100, 0b001, 0), Rotation(0b1111, 0, 0b0011, 0)
    zz, x = Rotation(0, 0b11, None, 0), Rotation(1, 0, None, 0)
    counts = [gate_counts(Circuit.build(4, [row])) for row in (single, double, zz, x)]
    assert counts == [(4, 4), (8, 13), (1, 2), (3, 0)]


@pytest.mark.parametrize(
    ("rule", "cost"),
    [
        (FailureBilling.NONE, 0),
        (FailureBilling.TASK_FEE, 300_000),
        (FailureBilling.DONE_SHOTS, 300_000 + 400),
        (FailureBilling.FULL, 300_000 + 1000),
    ],
)
def test_who_pays_for_failures_is_the_price_s_rule(rule: FailureBilling, cost: int) -> None:
    price = Price(per_task_usd=Decimal("0.3"), per_shot_usd=Decimal("0.00001"), failure_billing=rule)
    plan, queue = make_plan(100), QueueModel()
    for state in (JobState.FAILED, JobState.CANCELLED):
        assert cost_micro_usd(price, plan, queue, state, 40) == cost
    assert cost_micro_usd(price, plan, queue, JobState.DONE, 100) == 301_000
    assert price.cost_micro_usd(usage_of(plan, queue)) == 301_000


def test_a_changed_price_changes_every_term() -> None:
    price, usage = DEVICES["sandbox-slow"].price, usage_of(make_plan(100), DEVICES["sandbox-slow"].queue)
    assert scaled(price, Decimal(3)).cost_micro_usd(usage) == 3 * price.cost_micro_usd(usage)
    assert scaled(price, Decimal(3)).failure_billing is price.failure_billing


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "device"),
        ("not toml", "devices"),
        ('[[device]]\nname = "a"', "n_qubits"),
        ('[[device]]\nname = "A/.."\nn_qubits = 1\nshots_max = 1\ncircuits_max = 1', "name"),
        (2 * '[[device]]\nname = "a"\nn_qubits = 1\nshots_max = 1\ncircuits_max = 1\n', "share a name"),
    ],
)
def test_a_bad_device_file_is_named(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "devices.toml"
    path.write_text(text)
    with pytest.raises(CannotRunError, match=problem):
        load_devices(path)


def test_a_missing_device_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CannotRunError, match="devices"):
        load_devices(tmp_path / "none.toml")
