"""Canaries bought on devices, verdicts on what they showed, and a dispatcher that obeys."""

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from backends.catalog.local_provider import LocalProvider
from backends.dispatch import RoutingRequest
from backends.fleet import Fleet
from backends.provider import SubmitRejected
from ledger import Database, DeviceHealth, Journal, Ledger, Probe, ProbeVerdict, jobs_of
from measurement import ExecutionPlan
from measurement.canaries import readout_canary
from shotwise.errors import CannotRunError
from shotwise.spec import validate
from tasks.attempt import Attempt
from tasks.calibrate import ACCOUNT, Findings, Limits, judge, probe_device
from tasks.durable import Buyer, PurchaseResult
from tasks.evaluate import plan_iteration
from tasks.prepare import prepare
from tasks.routing import decide, quarantined
from tasks.state import initial
from tests.databases import new_journal

BITS, SHOTS = 8_000, 4_000


def good(readout: float = 0.02, mirror: float = 0.2) -> Probe:
    return Probe("d", 0, 1, readout, mirror, ProbeVerdict.GOOD, "")


def verdict(readout: float, mirror: float, history: list[Probe]) -> str:
    return judge(Findings(readout, BITS, mirror, SHOTS), history).verdict


def test_verdicts() -> None:
    history = [good()] * 5
    assert verdict(0.02, 0.2, history) == "good"
    assert verdict(0.05, 0.2, history) == "drifting"
    assert verdict(0.02, 0.4, history) == "drifting"
    assert verdict(0.001, 0.01, history) == "good", "better is not drift"
    assert verdict(0.3, 0.2, history) == "bad"
    assert verdict(0.02, 0.95, []) == "bad"
    assert verdict(0.05, 0.4, history[: Limits.history_min - 1]) == "good", "too little history to say"
    drifted = [Probe("d", 0, 1, 0.05, 0.4, ProbeVerdict.DRIFTING, "")] * 9
    assert verdict(0.05, 0.2, [*drifted, *history]) == "drifting", "only good probes are a measure"


def test_a_steady_device_is_not_called_drifting() -> None:
    """False alarms: none of 2,000 probes at five standard errors; the chance of any is below 1 %."""
    rng = np.random.default_rng(5)
    probes = [
        Findings(rng.binomial(BITS, 0.02) / BITS, BITS, rng.binomial(SHOTS, 0.3) / SHOTS, SHOTS)
        for _ in range(2_000)
    ]
    history = [good(f.readout_error, f.mirror_error) for f in probes[:10]]
    assert {judge(f, history).verdict for f in probes[10:]} == {"good"}


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = new_journal(tmp_path / "journal.db")
    yield database
    database.close()


def test_a_probe_is_bought_entered_and_settled(database: Database, tmp_path: Path) -> None:
    fleet = Fleet(("sim-manila",), tmp_path / "jobs")
    probe, standing = probe_device(database, fleet, "sim-manila", shots=500)
    fleet.close()
    assert (probe.verdict, standing) == ("good", None)
    assert 0 < probe.readout_error < 0.1
    assert 0 < probe.mirror_error < 0.9
    jobs = jobs_of(database)
    assert [job.state.value for job in jobs] == ["done", "done"]
    balance = Ledger(database).balance(ACCOUNT)
    assert balance.posted.micro_usd == sum(job.cost_micro_usd for job in jobs) > 0
    assert balance.held.micro_usd == 0
    assert DeviceHealth(database).history("sim-manila") == [probe]


@pytest.mark.parametrize("limits", [{"circuits_max": 1}, {"shots_max": 150}])
def test_canaries_are_cut_to_the_devices_limits(
    database: Database, tmp_path: Path, limits: dict[str, int]
) -> None:
    fleet = Fleet(("sim-manila",), tmp_path / "jobs")
    fleet._descriptions["sim-manila"] = fleet.description("sim-manila").model_copy(update=limits)
    probe, _ = probe_device(database, fleet, "sim-manila", shots=200)
    fleet.close()
    assert probe.verdict == "good"
    jobs = jobs_of(database)
    assert sum(job.shots for job in jobs) == probe.shots == 200 * 6
    assert len({job.batch for job in jobs}) == len(jobs) == (6 if "circuits_max" in limits else 2)


def test_a_probes_lease_is_renewed_while_it_waits(
    database: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    renewed, buy = [], Buyer.buy

    def watched(buyer: Buyer, *asked: object, **more: object) -> PurchaseResult:
        renewed.append(any(thread.name == "lease" for thread in threading.enumerate()))
        return buy(buyer, *asked, **more)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(Buyer, "buy", watched)
    fleet = Fleet(("sim-manila",), tmp_path / "jobs")
    probe_device(database, fleet, "sim-manila", shots=20)
    fleet.close()
    assert renewed == [True, True]


def test_a_drifting_device_is_quarantined_and_released_after_a_good_probe(
    database: Database, tmp_path: Path
) -> None:
    health = DeviceHealth(database)
    for _ in range(3):
        health.enter(
            Probe("sim-manila", 0, 1, 0.0001, 0.001, ProbeVerdict.GOOD, "so good that today's is drift")
        )
    fleet = Fleet(("sim-manila",), tmp_path / "jobs")
    probe, standing = probe_device(database, fleet, "sim-manila", shots=200)
    assert (probe.verdict, standing) == ("drifting", True)
    assert probe_device(database, fleet, "sim-manila", shots=200)[1] is None, "it stays as it is"
    for _ in range(9):
        health.enter(
            Probe("sim-manila", 0, 1, probe.readout_error, probe.mirror_error, ProbeVerdict.GOOD, "")
        )
    assert probe_device(database, fleet, "sim-manila", shots=200)[1] is False
    assert health.quarantined() == {}
    fleet.close()


def test_a_drifted_device_that_a_person_released_is_held_against_its_probes_since(
    database: Database, tmp_path: Path
) -> None:
    health = DeviceHealth(database)
    for _ in range(10):
        health.enter(Probe("sim-manila", 1, 1, 0.0001, 0.001, ProbeVerdict.GOOD, "before it drifted"))
    fleet = Fleet(("sim-manila",), tmp_path / "jobs")
    assert probe_device(database, fleet, "sim-manila", shots=200)[1] is True
    health.set("sim-manila", quarantined=False, reason="by hand")
    for _ in range(Limits.history_min + 1):
        probe, standing = probe_device(database, fleet, "sim-manila", shots=200)
        assert (probe.verdict, standing) == ("good", None)
    assert probe.reason == f"as in its last {Limits.history_min} good probes"
    assert health.quarantined() == {}
    fleet.close()


def test_after_a_probe_that_failed_comes_a_new_one(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = Fleet(("sim-manila",), tmp_path / "jobs")
    with monkeypatch.context() as patched:

        def gone(self: LocalProvider, plan: ExecutionPlan, token: str) -> str:
            raise SubmitRejected("in maintenance", permanent=True)

        patched.setattr(LocalProvider, "submit", gone)
        with pytest.raises(CannotRunError, match="maintenance"):
            probe_device(database, fleet, "sim-manila", shots=200)
    assert probe_device(database, fleet, "sim-manila", shots=200)[0].verdict == "good"
    assert [run.state for run in Journal(database).all_runs()] == ["failed", "completed"]
    fleet.close()


def test_a_probe_killed_in_flight_is_gone_on_with_whatever_the_next_one_asks_for(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def die(*_: object) -> None:
        raise Killed

    fleet = Fleet(("sim-manila",), tmp_path / "jobs")
    with monkeypatch.context() as patched:
        patched.setattr(Attempt, "_await", die)
        with pytest.raises(Killed):
            probe_device(database, fleet, "sim-manila", shots=200)
    shots = [probe_device(database, fleet, "sim-manila", shots=300)[0].shots for _ in range(2)]
    assert shots == [200 * 6, 300 * 6]
    fleet.close()


def test_the_dispatcher_obeys(database: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SHOTWISE_HOME", str(tmp_path))
    execution = {"mode": "shots", "shots": 300, "policy": "cheapest", "devices": ["sim-manila", "sim-lima"]}
    problem = {"kind": "molecule", "geometry": "H 0 0 0; H 0 0 0.7414"}
    prepared = prepare(validate({"problem": problem, "execution": execution, "seed": 11}))
    plan = plan_iteration(prepared, initial(prepared))
    (cheapest,) = decide(prepared, plan, RoutingRequest(), quarantined(database)).devices
    DeviceHealth(database).set(cheapest, quarantined=True, reason="drifts")
    decision = decide(prepared, plan, RoutingRequest(), quarantined(database))
    assert cheapest not in decision.devices
    reasons = {v.candidate.device: v.reason for v in decision.candidates}
    assert "quarantined: drifts" in reasons[cheapest]
    DeviceHealth(database).set(decision.devices[0], quarantined=True, reason="drifts too")
    with pytest.raises(CannotRunError, match="quarantined"):
        decide(prepared, plan, RoutingRequest(), quarantined(database))


def test_canaries_take_few_qubits() -> None:
    assert readout_canary(4, 10, (1, 0)).plan.shots_total == 20
