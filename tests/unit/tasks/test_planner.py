"""What a run would do and cost, said before it runs."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from ledger import Journal, Ledger
from shotwise.errors import NoRoomError
from shotwise.spec import validate
from tasks.planner import RunPlan, plan_run
from tasks.prepare import prepare
from tasks.routing import check_can_start


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOTWISE_HOME", str(tmp_path))


def planned(execution: dict, *, ledger: Ledger | None = None, **sections: dict) -> RunPlan:
    spec = {
        "problem": {"kind": "molecule", "geometry": "H 0 0 0; H 0 0 0.7414"},
        "optimizer": {"name": "adam", "max_iterations": 50},
        "execution": {"mode": "shots", "device": "sim-manila", **execution},
        **sections,
    }
    return plan_run(prepare(validate(spec)), ledger=ledger)


def test_an_iteration_is_not_the_pilot_before_it() -> None:
    """Three parameters of an excitation take four shifts each, and the energy itself one point."""
    plan = planned({"target_std_error": 1.6e-3})
    assert (plan.energies, plan.pilot_shots) == (13, 100 * plan.groups)
    assert plan.iteration_micro_usd > 100 * plan.pilot_micro_usd > 0
    whole = 50 * plan.iteration_micro_usd + plan.pilot_micro_usd + plan.final_micro_usd
    assert plan.expected_micro_usd == whole
    assert plan.expected_shots == 50 * plan.shots + plan.pilot_shots + plan.final_shots
    assert planned({"shots": 1000}).pilot_shots == 0


def test_a_final_evaluation_that_is_too_dear_is_named() -> None:
    asked = {"target_std_error": 1.6e-3, "shot_policy": "adaptive"}
    dear = planned({**asked}, optimizer={"name": "auto"}, budget={"usd": 0.5})
    assert dear.iterations_affordable == 0
    assert dear.refusal is not None
    assert re.match(
        r"budget\.usd: the final evaluation at the precision asked for alone costs \$[\d.]+ "
        r"\(got '\$0\.50 left'\); raise it or raise execution\.target_std_error",
        dear.refusal,
    )
    assert dear.decision is not None  # so that prices are told beside


def test_a_tenants_budget_that_is_spent_is_named_as_a_run_names_it(journal: Journal) -> None:
    ledger = Ledger(journal.database)
    ledger.open_account("lab")
    ledger.set_limit("lab", micro_usd=10)
    plan = planned({"shots": 1000}, ledger=ledger, account={"tenant": "lab"})
    assert plan.refusal is not None
    assert plan.refusal.startswith("budget of lab: ")
    assert plan.refusal.endswith("raise it or lower execution.shots")


def test_shots_that_allow_no_iteration_are_named() -> None:
    refusal = planned({"shots": 1000}, budget={"shots": 13_999}).refusal
    assert refusal is not None
    assert refusal.startswith("budget.shots: one iteration and all that is measured beside take 14,000 shots")


def test_a_scans_points_share_its_budget() -> None:
    one = planned({"shots": 1000})
    scan = replace(one, points=4)
    assert one.worst_case_micro_usd is not None
    assert (scan.expected_micro_usd, scan.expected_shots) == (
        4 * one.worst_case_micro_usd,
        4 * one.expected_shots,
    )
    assert scan.estimated
    three = 3 * one.expected_shots
    assert scan.affordable(shots=three, micro_usd=None) == 150
    assert scan.affordable(shots=three + one.fixed_shots + 2 * one.shots, micro_usd=None) == 152
    assert scan.affordable(shots=three + one.fixed_shots, micro_usd=None) == 150
    assert scan.affordable(shots=10 * three, micro_usd=None) == 200


def test_only_fixed_shots_have_a_worst_case() -> None:
    """Elsewhere the pilot corrects the variances by which shots were planned, and the run may take more."""
    fixed, asked = planned({"shots": 1000}), planned({"target_std_error": 1.6e-3})
    assert not fixed.estimated
    assert fixed.worst_case_micro_usd == fixed.expected_micro_usd
    assert fixed.worst_case_shots == fixed.expected_shots == 51 * 1000 + 12 * 50 * 1000
    assert asked.estimated
    assert asked.worst_case_micro_usd is asked.worst_case_shots is None
    assert planned({"target_std_error": 1.6e-3, "device": "jax"}).worst_case_micro_usd == 0


def test_what_is_affordable_leaves_room_for_all_else() -> None:
    execution = {"target_std_error": 1.6e-3, "mitigation": ["readout"]}
    plan = planned(execution)
    assert plan.calibration_micro_usd > 0
    beside = plan.pilot_micro_usd + plan.calibration_micro_usd + plan.final_micro_usd
    for iterations in (0, 3):
        enough = beside + iterations * plan.iteration_micro_usd
        assert plan.affordable(shots=None, micro_usd=enough) == iterations
        assert plan.affordable(shots=None, micro_usd=enough + plan.iteration_micro_usd - 1) == iterations
    assert 4_000 <= plan.calibration_shots <= 40_000
    shots = plan.pilot_shots + plan.calibration_shots + plan.final_shots + 2 * plan.shots
    assert plan.affordable(shots=shots, micro_usd=None) == 2
    assert plan.affordable(shots=None, micro_usd=None) is None
    assert planned(execution, budget={"shots": shots}).iterations_affordable == 2


def test_a_worst_case_in_shots_has_room_for_the_readout_calibration() -> None:
    plain, mitigated = planned({"shots": 300}), planned({"shots": 300, "mitigation": ["readout"]})
    assert plain.worst_case_shots is not None
    assert mitigated.worst_case_shots == plain.worst_case_shots + 4_000


def test_a_circuit_that_grows_has_no_worst_case_but_the_budget() -> None:
    plan = planned({"shots": 1000}, ansatz={"kind": "adapt"})
    assert plan.adaptive
    assert plan.worst_case_micro_usd is None


@pytest.mark.parametrize("policy", ["ensemble", "fastest", "best_fidelity", "balanced"])
def test_more_money_refuses_no_run(policy: str, journal: Journal) -> None:
    """A run that starts with a budget starts with every larger one, shared over devices or not."""
    ledger, started = Ledger(journal.database), []
    prepared = prepare(validate(routed(policy, None)))  # devices and circuits are the same for all budgets
    for usd in (1.0, 1.5, 2.0, 3.0, 3.9, 4.0, 5.0, 7.0, 9.0, 12.0):
        try:
            check_can_start(replace(prepared, spec=validate(routed(policy, usd))), ledger)
        except NoRoomError:
            started.append(False)
        else:
            started.append(True)
    assert started == sorted(started)
    assert started[-1]


def test_a_shared_step_is_priced_by_its_shares() -> None:
    prepared = prepare(validate(routed("ensemble", None)))
    plan = plan_run(prepared)
    assert plan.decision is not None
    whole = [scored.candidate.cost_micro_usd_max for scored in plan.decision.chosen]
    assert len(whole) == 3
    assert plan.iteration_micro_usd is not None
    assert max(whole) < plan.iteration_micro_usd < 0.7 * sum(whole)


def routed(policy: str, usd: float | None) -> dict:
    devices = ["sim-manila", "sim-lima", "sim-kolkata"]
    return {
        "problem": {"kind": "molecule", "geometry": "H 0 0 0; H 0 0 0.7414"},
        "optimizer": {"name": "spsa", "max_iterations": 10},
        "execution": {
            "mode": "shots",
            "shots": 2000,
            "policy": policy,
            "devices": devices,
            "allow_bad_calibration": True,
        },
        "budget": {"usd": usd},
    }


def test_a_warm_start_is_planned_as_the_state_it_starts_in() -> None:
    """At epsilon 0.5 it is |+...+>, from which ordinary QAOA starts."""
    plans = [
        planned(
            {"target_std_error": 0.02, "device": "jax"},
            problem={"kind": "maxcut", "nodes": 4, "edges": [[a, b] for a in range(4) for b in range(a)]},
            ansatz={"kind": "qaoa", "layers": 1, **start},
        )
        for start in ({}, {"warm_start": {"epsilon": 0.5}})
    ]
    assert plans[0].final_shots == plans[1].final_shots > 1000
