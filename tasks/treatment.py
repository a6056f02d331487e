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
from ledger import Amount, BatchId, Database, jobs_of, now_us, treatments_of
from measurement import ExecutionPlan
from measurement.mitigation import EXTRAPOLATIONS, ReadoutErrors, Treatment, calibration_plan
from shotwise.rng import Purpose
from tasks.durable import Buyer, DeviceGaveUpError
from tasks.mitigation import calibration_shots, choice
from tasks.prepared import Prepared

_WHOLE, _CALIBRATING = 0, 1
"""The attempts under which a treatment is entered: with its errors; before its calibration is bought."""


@dataclass(frozen=True, eq=False)
class AppliedTreatment:
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
    def from_json(cls, text: str) -> AppliedTreatment:
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


@dataclass(frozen=True, eq=False)
class Placement:
    """One device's part of a plan, to be treated.

    Attributes:
        batch: the first that is bought of it.
        moved_on: an earlier process went on to another device with it: nothing more is bought on this one.
    """

    prepared: Prepared
    buyer: Buyer
    iteration: int
    batch: BatchId
    device: str
    plan: ExecutionPlan
    moved_on: bool = False

    @property
    def calibration(self) -> BatchId:
        """The first of its calibration's batches; its choice is entered under it too."""
        return self.batch.of_calibration

    def load(self, attempt: int) -> AppliedTreatment | None:
        """What was entered under this attempt."""
        text = self.buyer.book.decision(self.iteration, self.calibration.number, attempt)
        return None if text is None else AppliedTreatment.from_json(text)

    def store(self, attempt: int, applied: AppliedTreatment) -> None:
        self.buyer.book.record_decision(
            self.iteration, self.calibration.number, attempt, applied.to_json(self.device)
        )


def treat(placement: Placement) -> AppliedTreatment | None:
    """The treatment of a placement: the entered one, or one that is chosen, calibrated for and entered now.

    Returns:
        None where nothing is done.

    Raises:
        BudgetExceededError: no room for a calibration.
        DeviceGaveUpError: the device would not run the calibration, or reads too badly to be put right.
    """
    if placement.prepared.shots_execution.mitigation == "none":
        return None
    known = _stored_treatment(placement)
    if known is not None:
        return known
    found, reason = placement.buyer.with_retries(
        lambda: choice(placement.prepared, placement.device, placement.plan)
    )
    return None if found is None else _enter(placement, _apply(placement, found.chosen.treatment, reason))


def treat_as(placement: Placement, like: AppliedTreatment) -> AppliedTreatment:
    """The same treatment on the device that took over a placement, with that device's own readout errors."""
    return _stored_treatment(placement) or _enter(
        placement, _apply(placement, like.treatment, f"taken over: {like.reason}")
    )


def calibration_spent(database: Database, run_id: str) -> Amount:
    """Shots and money that a run spent on readout calibrations: a phase of its own."""
    jobs = [job for job in jobs_of(database, run_id) if job.batch_id.calibration]
    return Amount(sum(j.shots for j in jobs), sum(j.cost_micro_usd for j in jobs))


def _stored_treatment(placement: Placement) -> AppliedTreatment | None:
    """What an earlier process entered, its calibration bought to the end."""
    kept = placement.load(_WHOLE)
    if kept is not None:
        return kept
    chosen = placement.load(_CALIBRATING)
    return None if chosen is None else _enter(placement, _calibrate(placement, chosen))


def _enter(placement: Placement, applied: AppliedTreatment) -> AppliedTreatment:
    placement.store(_WHOLE, applied)
    return applied


def _apply(placement: Placement, treatment: Treatment, reason: str) -> AppliedTreatment:
    fleet, execution = placement.prepared.fleet, placement.prepared.shots_execution
    assert fleet is not None
    known = placement.buyer.with_retries(lambda: fleet.noise(placement.device, placement.plan))
    n_qubits = placement.prepared.problem.n_qubits
    layout = known[1] if known else tuple(range(n_qubits))
    perfect = AppliedTreatment(treatment, ReadoutErrors.none(n_qubits), layout, None, Amount(), reason)
    if not treatment.readout or known is None:
        return perfect
    if execution.readout_from == "snapshot":
        return replace(perfect, errors=ReadoutErrors.from_snapshot(np.array(known[0].readout_error)))
    earlier = _recent_calibration(placement.buyer, execution.stale_after_s, placement.device, layout)
    if earlier is not None:
        return replace(perfect, errors=earlier.errors, calibrated_us=earlier.calibrated_us)
    # before anything is bought on it: whatever is known then, a later process goes on with this
    placement.store(_CALIBRATING, perfect)
    return _calibrate(placement, perfect)


def _calibrate(placement: Placement, chosen: AppliedTreatment) -> AppliedTreatment:
    """Buy a readout calibration; the same one again where an earlier process bought it."""
    seed = (
        placement.prepared.spec.seed,
        Purpose.READOUT_CALIBRATION,
        placement.iteration,
        placement.batch.place,
    )
    prepares = calibration_plan(placement.plan, calibration_shots(placement.plan), seed)
    batches = split_plan(prepares, placement.buyer.fleet.description(placement.device))
    bought = [
        placement.buyer.buy(
            placement.iteration,
            placement.calibration.with_part(at).number,
            placement.device,
            batch.plan,
            moved_on=placement.moved_on,
        )
        for at, batch in enumerate(batches)
    ]
    outcome = join_outcomes(prepares, batches, [each.outcome for each in bought])
    errors = ReadoutErrors.from_calibration(prepares, outcome)
    if not errors.invertible:
        raise DeviceGaveUpError(placement.device, "its readout errors cannot be inverted")
    spent = Amount(sum(b.shots for b in bought), sum(b.cost_micro_usd for b in bought))
    return replace(chosen, errors=errors, calibrated_us=now_us(), bought=spent)


def _recent_calibration(
    buyer: Buyer, age_s: float, device: str, layout: tuple[int, ...]
) -> AppliedTreatment | None:
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
                return AppliedTreatment.from_json(text)
    return None
