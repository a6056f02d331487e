"""Looking at a device with circuits whose answer is known, and deciding whether it is still to be trusted.

A probe is bought as every job is: as a run of its own in the journal, reserved, settled and reconciled, and
gone on with after a crash.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from backends.catalog import join_outcomes, split_plan
from backends.fleet import Fleet
from ledger import (
    CALIBRATION,
    BatchId,
    Database,
    DeviceHealth,
    JobBook,
    Journal,
    Lease,
    Ledger,
    NewRun,
    Probe,
    ProbeVerdict,
    RunState,
    jobs_of,
    now_us,
)
from measurement import ExecutionPlan, Outcome
from measurement.canaries import Canary, mirror_canary, mirror_error, readout_canary, readout_errors
from shotwise.errors import CannotRunError
from tasks.driving import renewing
from tasks.durable import Buyer
from tasks.provenance import versions_json
from tasks.retries import RetryPolicy
from tasks.run_records import spec_fields

_PAYER = {"tenant": "platform", "project": "calibration"}
ACCOUNT = "/".join(_PAYER.values())
_QUBITS_MAX = 4
_MIRROR_LAYERS = 4
_MIRROR_CIRCUITS = 4
_RETRY_POLICY = RetryPolicy(unavailable_s=60.0)
"""A device that takes nothing for so long is not waited for: there are others to look at."""


@dataclass(frozen=True)
class Limits:
    """When a probe is not good.

    Attributes:
        history_min, history_max: good probes that a device is held against, once there are so many.
        sigmas: an error must be above the history's median by this many standard errors of both ...
        excess: ... and by this much at least, or half the median where that is more: drift that matters.
        readout_max, mirror_max: bad whatever the history says.
    """

    history_min: int = 3
    history_max: int = 10
    sigmas: float = 5.0
    excess: float = 0.02
    readout_max: float = 0.25
    mirror_max: float = 0.9


@dataclass(frozen=True)
class Findings:
    """What a probe measured: errors as shares of so many observations."""

    readout_error: float
    readout_bits: int
    mirror_error: float
    mirror_shots: int


@dataclass(frozen=True)
class Judgement:
    """Of a probe: what it says, and why."""

    verdict: ProbeVerdict
    reason: str


def judge(found: Findings, history: Sequence[Probe], limits: Limits = Limits()) -> Judgement:
    """Hold a probe against a device's earlier good ones, of which the first of all are good by themselves."""
    ceilings = (
        ("readout", found.readout_error, limits.readout_max),
        ("mirror", found.mirror_error, limits.mirror_max),
    )
    for name, error, ceiling in ceilings:
        if error > ceiling:
            return Judgement(ProbeVerdict.BAD, f"{name} error {error:.3f}, limit {ceiling}")
    good = [probe for probe in history if probe.verdict is ProbeVerdict.GOOD][: limits.history_max]
    if len(good) < limits.history_min:
        return Judgement(
            ProbeVerdict.GOOD, f"no history of {limits.history_min} good probes to hold it against"
        )
    readout = _drift(
        "readout", found.readout_error, found.readout_bits, [p.readout_error for p in good], limits
    )
    mirror = _drift("mirror", found.mirror_error, found.mirror_shots, [p.mirror_error for p in good], limits)
    if reason := readout or mirror:
        return Judgement(ProbeVerdict.DRIFTING, reason)
    return Judgement(ProbeVerdict.GOOD, f"as in its last {len(good)} good probes")


def _drift(name: str, error: float, observations: int, before: list[float], limits: Limits) -> str | None:
    """Why an error is too far above those before; None where it is not.

    The standard error is binomial, of this probe and of the median of the earlier ones, plus how much those
    scatter among themselves.
    """
    median = statistics.median(before)
    variance = max(median * (1 - median), 1 / observations) / observations
    scatter = statistics.pstdev(before)
    std_error = math.sqrt(variance * (1 + math.pi / 2 / len(before)) + scatter**2)
    excess = max(limits.excess, median / 2)
    if error - median <= max(limits.sigmas * std_error, excess):
        return None
    return f"{name} error {error:.4f}, was {median:.4f}"


def probe_device(database: Database, fleet: Fleet, device: str, *, shots: int) -> tuple[Probe, bool | None]:
    """Probe a device, enter what it showed, and change its standing if that follows.

    Returns:
        The probe, and the new standing: True for quarantined, False for released, None for no change.

    Raises:
        CannotRunError: the device cannot be opened, or gave up.
        BudgetExceededError: `platform/calibration` has no room for it.
    """
    lease, seed, shots = _acquire(database, device, shots)
    try:
        canaries = _canaries(fleet, device, shots, seed)
        ledger = Ledger(database)
        account = f"{ACCOUNT}/{lease.run_id}"
        ledger.open_account(account)
        buyer = Buyer(JobBook(lease, account), fleet, _RETRY_POLICY)
        with renewing(lease):
            outcomes = [_bought(buyer, device, canary.plan, at) for at, canary in enumerate(canaries)]
    except CannotRunError:
        # the next probe is a new one with attempts of its own, unless something of this one is out
        out = jobs_of(database, lease.run_id, out=True)
        lease.finish(state=RunState.INTERRUPTED if out else RunState.FAILED, reason="probe", result_json=None)
        raise
    except BaseException:
        lease.finish(state=RunState.INTERRUPTED, reason="probe", result_json=None)
        raise
    health = DeviceHealth(database)
    readout, mirror = canaries
    qubits = readout_errors(readout, outcomes[0])
    found = Findings(
        float(qubits.mean()),
        readout.plan.shots_total * readout.n_qubits,
        mirror_error(mirror, outcomes[1]),
        mirror.plan.shots_total,
    )
    judged = judge(found, health.since_release(device, limit=100))
    probe = Probe(
        device=device,
        at_us=now_us(),
        shots=readout.plan.shots_total + mirror.plan.shots_total,
        readout_error=found.readout_error,
        mirror_error=found.mirror_error,
        verdict=judged.verdict,
        reason=judged.reason,
        details_json=json.dumps({"run_id": lease.run_id, "readout_error_by_qubit": qubits.tolist()}),
    )
    standing = _standing(device in health.quarantined(), judged)
    health.enter(probe, quarantined=standing)
    lease.finish(state=RunState.COMPLETED, reason=judged.verdict, result_json=None)
    return probe, standing


def _standing(was_quarantined: bool, judged: Judgement) -> bool | None:
    """The device's new standing, None where it keeps the old one."""
    shall_be = judged.verdict is not ProbeVerdict.GOOD
    return None if shall_be == was_quarantined else shall_be


def _canaries(fleet: Fleet, device: str, shots: int, seed: int) -> tuple[Canary, Canary]:
    n_qubits = min(fleet.description(device).n_qubits, _QUBITS_MAX)
    return (
        readout_canary(n_qubits, shots, (seed, 0)),
        mirror_canary(n_qubits, _MIRROR_LAYERS, _MIRROR_CIRCUITS, shots, (seed, 1)),
    )


def _bought(buyer: Buyer, device: str, plan: ExecutionPlan, first: int) -> Outcome:
    """A canary's outcome, in as many jobs as the device's limits ask for, every second part from `first`."""
    batches = split_plan(plan, buyer.fleet.description(device))
    jobs = [
        buyer.buy(0, BatchId(part=first + 2 * at).number, device, batch.plan)
        for at, batch in enumerate(batches)
    ]
    return join_outcomes(plan, batches, [job.outcome for job in jobs])


def _acquire(database: Database, device: str, shots: int) -> tuple[Lease, int, int]:
    """A probe that an earlier process left unfinished, or a new one; its circuits' seed and its shots."""
    journal = Journal(database)
    for record in journal.all_runs():
        if record.kind != CALIBRATION or record.state.has_ended or journal.is_driven(record.run_id):
            continue
        told = spec_fields(record)
        if told["device"] == device:
            return journal.acquire(record.run_id), told["seed"], told.get("shots", shots)
    seed = now_us()
    run_id = journal.create_run(
        NewRun(
            name="calibrate",
            kind=CALIBRATION,
            spec_json=json.dumps({"device": device, "seed": seed, "shots": shots, "account": _PAYER}),
            problem_sha256="",
            versions_json=versions_json(),
        )
    )
    return journal.acquire(run_id), seed, shots
