"""A look at the groups' variances where the optimization ended; the final evaluation is planned by them.

A standard error e takes (sum_g sigma_g)^2 / e^2 shots. An optimization that was good with few shots knows
the sigmas badly, and the final evaluation would miss the error that was asked for to either side. So a tenth
of its shots are taken first, and only the variances are kept of them: the final evaluation stays independent
of what decided its size.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from measurement import ExecutionPlan
from optimizers import Reason
from shotwise.rng import Purpose
from tasks.evaluate import BatchResult, plan_energies
from tasks.prepared import Prepared
from tasks.result import final_plan
from tasks.sampling import final_shots, final_sigmas
from tasks.state import LoopState

SHARE = 0.1
"""Of the final evaluation's shots."""
FINALS = 2
"""A look may make the final evaluation so many times larger, if the budget has room for that."""
_NOT_AFTER = (None, Reason.BUDGET_REACHED, Reason.DIVERGED)


def look_plan(prepared: Prepared, state: LoopState) -> ExecutionPlan | None:
    """One evaluation where the run ended; None where as many shots are known already, or none are to spare.

    Fixed shots are not planned by variances.
    """
    if prepared.shots_execution.shots is not None:
        return None
    final = final_shots(prepared, state)
    shots, budget = int(SHARE * final), prepared.spec.budget.shots
    known = float(state.centre_variances.shots.sum())
    spared = budget is None or state.shots + shots + FINALS * final <= budget
    if state.reason in _NOT_AFTER or known >= shots or not spared:
        return None
    circuit = prepared.stage(state.operators).circuit
    angles = circuit.angles(state.parameters[None, :])
    path = (Purpose.PILOT, state.iteration)
    return plan_energies(
        prepared, circuit, angles, np.array([float(shots)]), final_sigmas(prepared, state), path
    )


def plan_after(prepared: Prepared, state: LoopState, look: BatchResult) -> ExecutionPlan:
    """The final evaluation by what a look at the end of `state` taught: for no more than was kept for it."""
    kept = FINALS * final_shots(prepared, state)
    learned = state.centre_variances.updated(look.parts, prepared.grouping)
    return final_plan(prepared, replace(state, centre_group_variances=learned), shots_max=kept)
