"""How many shots go where in a sampled run, by what it has learned of its groups."""

from __future__ import annotations

import math

import numpy as np

from measurement import ExecutionPlan, regularized_sigmas, shots_for
from shotwise.errors import CannotRunError
from shotwise.spec import SHOTS_MAX
from tasks.prepared import Prepared
from tasks.state import LoopState, at_end

PILOT_SHOTS = 100
"""Of every group, before shots are set by a target error."""
_MARGIN = 0.97
"""Of the target that the final evaluation aims at, since the groups' variances are themselves estimates."""
_ROUNDED_UP = 1.01
_SETTLING_SWEEPS = 4
"""For this many sweeps use the larger of the pooled and the centre variances, because a line fit has not yet
measured at its own position."""


def check_energy_shots(prepared: Prepared, shots: float) -> None:
    """Refuse an energy of more shots than a spec may give it.

    Raises:
        CannotRunError: the standard error that is asked for takes more.
    """
    if shots <= SHOTS_MAX:
        return
    asked = prepared.asked_std_error
    raise CannotRunError(
        "execution.target_std_error",
        asked,
        f"an energy would take {shots:.1e} shots, more than {SHOTS_MAX:,}",
        f"ask for {_ROUNDED_UP * asked * math.sqrt(shots / SHOTS_MAX):.2e} or more",
    )


def energy_shots(prepared: Prepared, sigmas: np.ndarray) -> int:
    """Shots of one energy evaluation where the optimizer does not choose them.

    Args:
        sigmas: the groups' standard deviations where it is evaluated, shape (groups,).

    Raises:
        CannotRunError: as `check_energy_shots`.
    """
    shots = prepared.shots_execution.shots or shots_for(prepared.asked_std_error, sigmas)
    check_energy_shots(prepared, shots)
    return shots


def centre_sigmas(
    prepared: Prepared, state: LoopState, *, shots: int | None = None, std_error: float | None = None
) -> np.ndarray:
    """The groups' standard deviations where the run stands, as an error bar counts them, shape (groups,).

    Args:
        shots, std_error: what the energy is planned by; one of them.
    """
    known, weights = state.centre_variances.sigmas, prepared.grouping.weights
    return regularized_sigmas(known, weights, shots=shots, std_error=std_error)


def final_shots(prepared: Prepared, state: LoopState) -> int:
    """Shots of the final evaluation, of a run `at_end`: as given, or as the target error takes by what was
    learned.

    Raises:
        CannotRunError: as `check_energy_shots`.
    """
    execution = prepared.shots_execution
    target = _MARGIN * prepared.asked_std_error
    shots = execution.shots or shots_for(target, final_sigmas(prepared, state))
    check_energy_shots(prepared, shots)
    return shots


def has_shots(prepared: Prepared, state: LoopState, plan: ExecutionPlan) -> bool:
    """Whether the spec's budget has shots for a step and for the final evaluation."""
    budget = prepared.spec.budget.shots
    return budget is None or state.shots + plan.shots_total + final_shots(*at_end(prepared, state)) <= budget


def final_sigmas(prepared: Prepared, state: LoopState) -> np.ndarray:
    """The groups' standard deviations where the run stands, as the final error bar counts them, (groups,)."""
    shots = prepared.shots_execution.shots
    target = None if shots else _MARGIN * prepared.asked_std_error
    sigmas, sweep = state.centre_variances.sigmas, prepared.stage(state.operators).optimizer.sweep
    if sweep > 1 and state.iteration <= _SETTLING_SWEEPS * sweep:
        sigmas = np.maximum(sigmas, state.variances.sigmas)
    return regularized_sigmas(sigmas, prepared.grouping.weights, shots=shots, std_error=target)


def pilot_shots(prepared: Prepared) -> int:
    """Shots of the pilot, all groups together."""
    return PILOT_SHOTS * len(prepared.grouping)
