"""How a device's part of a batch would be mitigated, why, at what price; and what its counts then say."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from backends.catalog import jobs_refusal
from backends.dispatch import Candidate
from ledger import Amount
from measurement import Estimates, ExecutionPlan, Grouping
from measurement.mitigation import (
    QUBITS_MAX,
    Choice,
    ForecastInputs,
    Noise,
    Piece,
    Readings,
    Treatment,
    calibration_plan,
    candidates,
    choose,
    combine,
    plain,
    verifiable,
    verified,
)
from problems import Problem
from shotwise.errors import CannotRunError, SpecError
from shotwise.spec import AdaptAnsatz, KUpccgsdAnsatz, ShotsExecution, UccsdAnsatz
from tasks.prepared import Prepared

CALIBRATION_SHOTS = (4_000, 40_000)
"""Least and most of one readout calibration; in between, as many as the batch that asks for it."""


@dataclass(frozen=True, eq=False)
class MitigatedPart:
    """A device's part as it was run, for `estimates`."""

    treatment: Treatment
    pieces: tuple[Piece, ...]
    reason: str

    def estimates(self, prepared: Prepared) -> Estimates:
        """Mitigated energies of the part's points."""
        unverified, checked = _readings(prepared.problem, prepared.grouping, _symmetric(prepared))
        readings = checked if self.treatment.symmetry and checked else unverified
        return combine(self.treatment, self.pieces, readings, unverified)


def check(prepared: Prepared) -> None:
    """Refuse techniques that the spec names and that cannot be used.

    Raises:
        SpecError: the problem, ansatz or execution rules one out.
    """
    execution = prepared.spec.execution
    if not isinstance(execution, ShotsExecution) or execution.mitigation in ("none", "auto"):
        return
    if prepared.fleet is None:
        raise SpecError(
            "execution.mitigation",
            execution.mitigation,
            f"device {execution.device} has no errors",
            "name a noisy device of `shotwise devices`, or leave it out",
        )
    if prepared.tail is not None:
        raise SpecError(
            "execution.mitigation",
            execution.mitigation,
            "a CVaR is of single samples, which no technique mends",
            "minimise the expectation, or leave it out",
        )
    if prepared.problem.n_qubits > QUBITS_MAX:
        raise SpecError(
            "execution.mitigation",
            f"{prepared.problem.n_qubits} qubits",
            f"mitigation reads tables of at most {QUBITS_MAX}",
            "use an active space, or leave it out",
        )
    if "symmetry" in execution.mitigation and not _symmetric(prepared):
        raise SpecError(
            "execution.mitigation",
            "symmetry",
            "the circuit conserves no electron numbers that its bases can read",
            "use a molecule with ansatz uccsd or adapt and qubit-wise grouping, or leave it out",
        )


def choice(prepared: Prepared, device: str, plan: ExecutionPlan) -> tuple[Choice | None, str]:
    """How a device's part would be treated and why, from what is known before anything runs.

    Raises:
        CannotRunError: the spec names techniques that the device cannot be asked for.
    """
    execution = prepared.shots_execution
    if execution.mitigation == "none" or prepared.fleet is None:
        return None, ""
    named = None if execution.mitigation == "auto" else execution.mitigation
    if prepared.tail is not None:
        return None, "none: a CVaR is of single samples, which no technique mends"
    known = prepared.fleet.noise(device, plan) if prepared.problem.n_qubits <= QUBITS_MAX else None
    if known is None:
        why = "has no errors to mitigate, tells none, or compiles circuits itself"
        if named is not None and prepared.fleet.description(device).calibration != "none":
            raise CannotRunError(
                "execution.mitigation", device, why, "use another device or mitigation: auto"
            )
        return None, f"none: {device} {why}"
    first = plan.point == plan.point[0]
    shots = np.bincount(plan.basis[first], weights=plan.shots[first], minlength=len(plan.bases))
    found = _choice(
        prepared.problem,
        prepared.grouping,
        _symmetric(prepared),
        _reference_state(prepared.problem, plan),
        known[0],
        tuple(shots.tolist()),
        int(plan.shots.min()),
        None if execution.readout_from == "snapshot" else calibration_shots(plan),
        calibration_shots(plan) / (plan.shots_total * prepared.iterations_max),
        None if named is None else frozenset(named),
    )
    return found, found.reason


def with_mitigation(prepared: Prepared, candidate: Candidate, plan: ExecutionPlan) -> Candidate:
    """A candidate at the cost and the error that the batch has once it is mitigated there."""
    asked = prepared.shots_execution.mitigation != "none" and not plan.bases.varied
    if candidate.refusal is not None or not asked or prepared.fleet is None:
        return candidate
    try:
        found, _ = choice(prepared, candidate.device, plan)
    except CannotRunError as error:
        return replace(candidate, refusal=error.reason)
    if found is None:
        return candidate
    expanded = found.chosen.treatment.expand(plan)
    if why := jobs_refusal(expanded, prepared.fleet.description(candidate.device)):
        return replace(candidate, refusal=f"mitigated it {why}")
    cost = prepared.fleet.quote_micro_usd(candidate.device, expanded)
    return replace(
        candidate,
        cost_micro_usd=cost,
        cost_micro_usd_max=cost,
        precise_micro_usd=candidate.precise_micro_usd + cost - candidate.cost_micro_usd,
        bias=found.chosen.bias,
        std_error=found.chosen.std_error,
    )


def calibration_quote(prepared: Prepared, devices: Iterable[str], plan: ExecutionPlan) -> Amount:
    """Worst case of the readout calibrations that the devices' treatments would ask for."""
    execution, fleet = prepared.shots_execution, prepared.fleet
    if execution.mitigation == "none" or execution.readout_from == "snapshot" or fleet is None:
        return Amount()
    prepares = calibration_plan(plan, calibration_shots(plan), plan.seed)
    found = {device: choice(prepared, device, plan)[0] for device in devices}
    asking = [
        device for device, picked in found.items() if picked is not None and picked.chosen.treatment.readout
    ]
    return Amount(
        len(asking) * prepares.shots_total,
        sum(fleet.quote_micro_usd(device, prepares) for device in asking),
    )


@lru_cache(maxsize=256)
def _choice(
    problem: Problem,
    grouping: Grouping,
    symmetric: bool,
    reference_state: int | None,
    noise: Noise,
    shots: tuple[float, ...],
    shots_least: int,
    calibration_shots: int | None,
    calibration_overhead: float,
    names: frozenset[str] | None,
) -> Choice:
    unverified, checked = _readings(problem, grouping, symmetric)
    computational = (grouping.bases.x == 0) & ~np.array(
        [bool(c) for c in getattr(grouping.bases, "cliffords", ())] or [False] * len(grouping)
    )
    inputs = ForecastInputs(
        unverified,
        checked,
        computational,
        reference_state,
        np.array(shots),
        shots_least,
        calibration_shots,
        calibration_overhead,
    )
    return choose(candidates(names, inputs, problem.n_qubits), inputs, noise)


@lru_cache(maxsize=8)
def _readings(problem: Problem, grouping: Grouping, symmetric: bool) -> tuple[Readings, Readings | None]:
    checked = None
    if symmetric and problem.sector is not None:
        checked = verified(grouping, problem.hamiltonian, problem.sector)
    return plain(grouping, problem.n_qubits), checked


def _symmetric(prepared: Prepared) -> bool:
    conserves = isinstance(prepared.spec.ansatz, UccsdAnsatz | KUpccgsdAnsatz | AdaptAnsatz)
    return conserves and prepared.problem.sector is not None and verifiable(prepared.grouping)


def _reference_state(problem: Problem, plan: ExecutionPlan) -> int | None:
    """What the ansatz starts from; where that is no basis state, one that it is to end near."""
    if plan.circuit.basis_state is not None:
        return plan.circuit.basis_state
    ground = problem.reference.ground if problem.reference else None
    return int(ground.support[0]) if ground is not None else None


def calibration_shots(plan: ExecutionPlan) -> int:
    """Shots of the readout calibration that a batch asks for."""
    return int(np.clip(plan.shots_total, *CALIBRATION_SHOTS))
