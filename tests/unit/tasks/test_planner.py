"""What a run would do and cost, said before it runs."""

from pathlib import Path

import pytest

from shotwise.spec import validate
from tasks.planner import RunPlan, plan_run
from tasks.prepare import prepare


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOTWISE_HOME", str(tmp_path))


def planned(execution: dict, *, left: int | None = None, **sections: dict) -> RunPlan:
    spec = {
        "problem": {"kind": "molecule", "geometry": "H 0 0 0; H 0 0 0.7414"},
        "optimizer": {"name": "adam", "max_iterations": 50},
        "execution": {"mode": "shots", "device": "sim-manila", **execution},
        **sections,
    }
    return plan_run(prepare(validate(spec)), micro_usd_left=left)


def test_an_iteration_is_not_the_pilot_before_it() -> None:
    """Three parameters of an excitation take four shifts each, and the energy itself one point."""
    plan = planned({"target_std_error": 1.6e-3})
    assert (plan.energies, plan.pilot_shots) == (13, 100 * plan.groups)
    assert plan.iteration_micro_usd > 100 * plan.pilot_micro_usd > 0
    whole = 50 * plan.iteration_micro_usd + plan.pilot_micro_usd + plan.final_micro_usd
    assert plan.worst_case_micro_usd == whole
    assert plan.worst_case_shots == 50 * plan.shots + plan.pilot_shots + plan.final_shots
    assert planned({"shots": 1000}).pilot_shots == 0


def test_what_is_affordable_leaves_room_for_all_else() -> None:
    execution = {"target_std_error": 1.6e-3, "mitigation": ["readout"]}
    plan = planned(execution)
    assert plan.calibration_micro_usd > 0
    beside = plan.pilot_micro_usd + plan.calibration_micro_usd + plan.final_micro_usd
    for iterations in (0, 3):
        enough = beside + iterations * plan.iteration_micro_usd
        assert plan.affordable(shots=None, micro_usd=enough) == iterations
        assert plan.affordable(shots=None, micro_usd=enough + plan.iteration_micro_usd - 1) == iterations
    shots = plan.pilot_shots + plan.final_shots + 2 * plan.shots
    assert plan.affordable(shots=shots, micro_usd=None) == 2
    assert plan.affordable(shots=None, micro_usd=None) is None
    assert planned(execution, budget={"shots": shots}).iterations_affordable == 2


def test_a_circuit_that_grows_has_no_worst_case_but_the_budget() -> None:
    plan = planned({"shots": 1000}, ansatz={"kind": "adapt"})
    assert plan.adaptive
    assert plan.worst_case_micro_usd is None
