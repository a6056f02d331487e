"""A target error that sets the shots is met where the run stands, at about the shots that were planned."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from shotwise.spec import validate
from tasks.advance import advance
from tasks.evaluate import BatchResult, answer_from, plan_iteration
from tasks.prepare import prepare
from tasks.state import initial

TARGET = 5e-3


@pytest.mark.parametrize("optimizer", ["adam", "spsa"])
def test_the_centre_has_the_error_asked_for_at_the_shots_planned(optimizer: str) -> None:
    prepared = prepare(
        validate(
            {
                "problem": {"kind": "molecule", "geometry": "H 0 0 0; H 0 0 0.7414"},
                "optimizer": {"name": optimizer},
                "execution": {"mode": "shots", "target_std_error": TARGET},
            }
        )
    )
    state = initial(prepared)
    planned = plan_iteration(prepared, replace(state, piloting=False)).shots_total
    errors, taken = [], []
    for _ in range(25):
        plan = plan_iteration(prepared, state)
        answer = answer_from(prepared, state, BatchResult.free(plan, prepared.device.sample(plan)))
        state, _ = advance(prepared, state, answer)
        errors.append(math.sqrt(float(answer.evaluation.variances[0])))
        taken.append(plan.shots_total)
    settled = errors[10:]
    assert sum(settled) / len(settled) == pytest.approx(TARGET, rel=0.15)
    assert planned / 2 < sum(taken[10:]) / len(settled) < 2 * planned
