"""From a spec to everything a loop needs, built once a process."""

from __future__ import annotations

from functools import lru_cache, partial

from backends import DEVICE_NAMES, open_device
from backends.fleet import CalibrationPolicy, Fleet, fleet_names
from backends.jax_device import JaxDevice
from optimizers import Need
from problems import build_ansatz, build_problem
from shotwise.errors import CannotRunError, SpecError
from shotwise.home import Home
from shotwise.spec import SHOT_CHOOSERS, AdaptAnsatz, RunSpec, ShotsExecution
from shotwise.words import quantity
from tasks.fleet import open_fleet
from tasks.mitigation import check as check_mitigation
from tasks.patience import ask_before_start
from tasks.prepared import Prepared
from tasks.sampling import final_shots
from tasks.state import at_end, initial


def prepare(spec: RunSpec) -> Prepared:
    """Build the problem, its ansatz and reference, and open the device; once for equal specs in a home.

    Raises:
        SpecError: the spec says something that cannot be meant.
        CannotRunError: it cannot be run here: too large, no such device, or no budget for one step.
    """
    return _prepare(spec.canonical_json(), Home.from_environment())


@lru_cache(maxsize=4)
def _prepare(canonical_json: str, home: Home) -> Prepared:
    spec = RunSpec.model_validate_json(canonical_json)
    fleet = _fleet(spec, home)
    device = open_device("jax" if fleet else spec.execution.device)
    problem = build_problem(spec.problem, home.molecules if home.root.exists() else None)
    prepared = Prepared(spec, problem, build_ansatz(spec.ansatz, problem), device, fleet)
    _check_device(prepared)
    _check_optimizer(prepared)
    if prepared.sampled:
        _check_shots(prepared)
        check_mitigation(prepared)
    return prepared


def _fleet(spec: RunSpec, home: Home) -> Fleet | None:
    """The devices to route over; None for the simulators that are called directly and cost nothing."""
    execution = spec.execution
    if not isinstance(execution, ShotsExecution):
        return None
    if execution.policy is None and execution.device in DEVICE_NAMES:
        return None
    names = fleet_names(execution.devices) if execution.policy else (execution.device,)
    calibration_policy = CalibrationPolicy(execution.stale_after_s, execution.allow_bad_calibration)
    fleet = open_fleet(names, calibration_policy, home)
    for name in names:
        ask_before_start(partial(fleet.description, name))
    return fleet


def _check_device(prepared: Prepared) -> None:
    capabilities, n_qubits = prepared.device.capabilities, prepared.problem.n_qubits
    if n_qubits > capabilities.n_qubits_max:
        raise CannotRunError(
            "problem",
            quantity(n_qubits, "qubit"),
            f"device {prepared.device.name} takes at most {capabilities.n_qubits_max}",
            "use an active space or fewer nodes",
        )
    observable = None if prepared.sampled else prepared.problem.observable
    JaxDevice().check_fits(prepared.ansatz.circuit, observable)


def _check_optimizer(prepared: Prepared) -> None:
    exact = not prepared.sampled and prepared.device.capabilities.metric
    if prepared.stage().optimizer.need is Need.METRIC and not exact:
        raise SpecError(
            "optimizer.name",
            prepared.optimizer_spec.name,
            "natural gradients need exact metrics",
            "use execution {mode: exact, device: jax}",
        )


def _check_shots(prepared: Prepared) -> None:
    if prepared.shots_execution.adaptive and not prepared.chooses_shots and prepared.ansatz.pool is None:
        raise SpecError(
            "optimizer.name",
            prepared.optimizer_spec.name,
            "does not choose its shots, the spec asks for adaptive ones",
            f"use auto, {', '.join(SHOT_CHOOSERS[:-1])} or {SHOT_CHOOSERS[-1]}, or a fixed number of shots",
        )
    shots, groups = prepared.shots_per_evaluation, len(prepared.grouping)
    final_shots(*at_end(prepared, initial(prepared)))  # the energy of most shots
    least = prepared.shots_min
    if shots < least:
        raise SpecError(
            "execution.shots",
            shots,
            f"too few for {quantity(groups, 'measurement group')}",
            f"use at least {least}",
        )
    if prepared.fleet is not None:
        return
    limit = prepared.spec.budget.shots
    adaptive = isinstance(prepared.spec.ansatz, AdaptAnsatz)
    energies = 1 if adaptive else prepared.stage().energies_per_iteration
    each = prepared.shots_min if prepared.chooses_shots else shots
    need = shots + each * energies
    if limit is not None and need > limit:
        raise CannotRunError(
            "budget.shots",
            limit,
            f"one iteration and the final evaluation take {need:,} shots",
            "raise it or lower execution.shots",
        )
