"""Treatments of bought batches: entered before anything is bought on them, calibrated for, taken over.

A choice is entered in the journal together with the readout errors that it will invert, so a resumed run
combines its counts exactly as it would have. Readout calibrations are jobs like any other, reserved and
settled; what they measured is used again, by later iterations and other runs, for the same physical qubits of
the device until it is as old as `execution.stale_after_s`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

import numpy as np

from backends.catalog import join_outcomes, split_plan
from ledger import TREATMENTS, Amount, Database, jobs_of, now_us, treatments_of
from measurement import ExecutionPlan
from measurement.mitigation import EXTRAPOLATIONS, ReadoutErrors, Treatment, calibration_plan
from shotwise.errors import CannotRunError
from shotwise.rng import Purpose
from tasks.batch_numbers import LEG_BATCHES
from tasks.durable import Buyer
from tasks.mitigation import calibration_shots, choice
from tasks.prepare import Prepared

_CALIBRATING = 1
"""Under this attempt a treatment is entered whose calibration is about to be bought."""


@dataclass(frozen=True, eq=False)
class Applied:
    """How one device's part is treated.

    Attributes:
        errors: that readout inversion uses; of a perfect reader where there is none.
        layout: physical qubits that ours are read on.
        calibrated_us: when `errors` were measured; None where they were not.
        bought: what the calibration cost, where this part asked for it.
        reason: for people.
    """

    treatment: Treatment
    errors: ReadoutErrors
    layout: tuple[int, ...]
    calibrated_us: int | None
    bought: Amount
    reason: str

    def to_json(self, device: str) -> str:
        """For the journal, with the device that it is about."""
        return json.dumps(
            {
                "device": device,
                "layout": self.layout,
                "techniques": self.treatment.names,
                "extrapolation": self.treatment.extrapolation.name,
                "reason": self.reason,
                "calibrated_us": self.calibrated_us,
                "readout_error": self.errors.e.tolist(),
                "readout_variance": self.errors.variances.tolist(),
                "shots": self.bought.shots,
                "micro_usd": self.bought.micro_usd,
            }
        )

    @classmethod
    def from_json(cls, text: str) -> Applied:
        raw = json.loads(text)
        names = raw["techniques"]
        return cls(
            Treatment(
                "readout" in names,
                "twirling" in names,
                "symmetry" in names,
                EXTRAPOLATIONS[raw["extrapolation"]],
            ),
            ReadoutErrors(np.array(raw["readout_error"]), np.array(raw["readout_variance"])),
            tuple(raw["layout"]),
            raw["calibrated_us"],
            Amount(raw["shots"], raw["micro_usd"]),
            raw["reason"],
        )


def treat(
    prepared: Prepared,
    buyer: Buyer,
    iteration: int,
    leg: int,
    device: str,
    plan: ExecutionPlan,
    *,
    moved_on: bool = False,
) -> Applied | None:
    """The treatment of a leg: the entered one, or one that is chosen, calibrated for and entered now.

    Returns:
        None where nothing is done.

    Raises:
        BudgetExceededError: no room for a calibration.
        DeviceGaveUpError: the device would not run the calibration.
    """
    if prepared.shots_execution.mitigation == "none":
        return None
    kept = buyer.book.decision(iteration, _batch(leg), 0)
    if kept is not None:
        return Applied.from_json(kept)
    begun = buyer.book.decision(iteration, _batch(leg), _CALIBRATING)
    if begun is not None:
        chosen = Applied.from_json(begun)
        applied = _calibrated(prepared, buyer, iteration, leg, device, plan, chosen, moved_on=moved_on)
    else:
        found, reason = buyer.patiently(lambda: choice(prepared, device, plan))
        if found is None:
            return None
        treatment = found.chosen.treatment
        applied = _applied(
            prepared, buyer, iteration, leg, device, plan, treatment, reason, moved_on=moved_on
        )
    buyer.book.decide(iteration, _batch(leg), 0, applied.to_json(device))
    return applied


def treat_as(
    prepared: Prepared,
    buyer: Buyer,
    iteration: int,
    leg: int,
    device: str,
    plan: ExecutionPlan,
    like: Applied,
) -> Applied:
    """The same treatment on the device that took over a leg, with that device's own readout errors."""
    kept = buyer.book.decision(iteration, _batch(leg), 0)
    if kept is not None:
        return Applied.from_json(kept)
    begun = buyer.book.decision(iteration, _batch(leg), _CALIBRATING)
    if begun is not None:
        chosen = Applied.from_json(begun)
        applied = _calibrated(prepared, buyer, iteration, leg, device, plan, chosen, moved_on=False)
    else:
        reason = f"taken over: {like.reason}"
        applied = _applied(prepared, buyer, iteration, leg, device, plan, like.treatment, reason)
    buyer.book.decide(iteration, _batch(leg), 0, applied.to_json(device))
    return applied


def calibration_spent(database: Database, run_id: str) -> Amount:
    """Shots and money that a run spent on readout calibrations: a phase of its own."""
    jobs = [job for job in jobs_of(database, run_id) if job.batch >= TREATMENTS]
    return Amount(sum(j.shots for j in jobs), sum(j.cost_micro_usd for j in jobs))


def _applied(
    prepared: Prepared,
    buyer: Buyer,
    iteration: int,
    leg: int,
    device: str,
    plan: ExecutionPlan,
    treatment: Treatment,
    reason: str,
    *,
    moved_on: bool = False,
) -> Applied:
    fleet = prepared.fleet
    assert fleet is not None
    known = buyer.patiently(lambda: fleet.noise(device, plan))
    n_qubits = prepared.problem.n_qubits
    layout = known[1] if known else tuple(range(n_qubits))
    if not treatment.readout or known is None:
        return Applied(treatment, ReadoutErrors.none(n_qubits), layout, None, Amount(), reason)
    if prepared.shots_execution.readout_from == "snapshot":
        errors = ReadoutErrors.from_snapshot(np.array(known[0].readout_error))
        return Applied(treatment, errors, layout, None, Amount(), reason)
    earlier = _earlier(buyer, prepared.shots_execution.stale_after_s, device, layout)
    if earlier is not None:
        return Applied(treatment, earlier.errors, layout, earlier.calibrated_us, Amount(), reason)
    chosen = Applied(treatment, ReadoutErrors.none(n_qubits), layout, None, Amount(), reason)
    # before anything is bought on it: whatever is known then, a later process goes on with this
    buyer.book.decide(iteration, _batch(leg), _CALIBRATING, chosen.to_json(device))
    return _calibrated(prepared, buyer, iteration, leg, device, plan, chosen, moved_on=moved_on)


def _calibrated(
    prepared: Prepared,
    buyer: Buyer,
    iteration: int,
    leg: int,
    device: str,
    plan: ExecutionPlan,
    chosen: Applied,
    *,
    moved_on: bool,
) -> Applied:
    errors, bought = _calibrate(prepared, buyer, iteration, leg, device, plan, moved_on=moved_on)
    return replace(chosen, errors=errors, calibrated_us=now_us(), bought=bought)


def _calibrate(
    prepared: Prepared,
    buyer: Buyer,
    iteration: int,
    leg: int,
    device: str,
    plan: ExecutionPlan,
    *,
    moved_on: bool,
) -> tuple[ReadoutErrors, Amount]:
    """Buy a readout calibration; the same one again where an earlier process bought it."""
    seed = (prepared.spec.seed, Purpose.READOUT_CALIBRATION, iteration, leg)
    prepares = calibration_plan(plan, calibration_shots(plan), seed)
    batches = split_plan(prepares, buyer.fleet.description(device))
    bought = [
        buyer.buy(iteration, _batch(leg) + at, device, batch.plan, moved_on=moved_on)
        for at, batch in enumerate(batches)
    ]
    outcome = join_outcomes(prepares, batches, [each.outcome for each in bought])
    errors = ReadoutErrors.from_calibration(prepares, outcome)
    if not errors.invertible:
        raise CannotRunError(
            "execution.mitigation", device, "its readout errors cannot be inverted", "use another device"
        )
    return errors, Amount(sum(b.shots for b in bought), sum(b.cost_micro_usd for b in bought))


def _earlier(buyer: Buyer, age_s: float, device: str, layout: tuple[int, ...]) -> Applied | None:
    """The newest measured readout errors of these qubits that are not too old: this run's, else any run's."""
    since = now_us() - round(age_s * 1e6)
    database, run_id = buyer.book.lease.database, buyer.book.lease.run_id
    for texts in (
        treatments_of(database, run_id=run_id, since_us=since),
        treatments_of(database, since_us=since),
    ):
        for text in texts:
            raw = json.loads(text)
            fresh = raw["calibrated_us"] is not None and raw["calibrated_us"] >= since
            if fresh and raw["device"] == device and tuple(raw["layout"]) == layout:
                return Applied.from_json(text)
    return None


def _batch(leg: int) -> int:
    return TREATMENTS + leg * LEG_BATCHES
