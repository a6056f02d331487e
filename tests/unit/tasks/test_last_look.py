"""The look before a final evaluation: when it is taken, that it is bought once, and what it is good for."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from prefect.states import State

from ledger import Journal
from measurement import ExecutionPlan
from optimizers import Reason
from shotwise.spec import validate
from tasks import loop_tasks
from tasks.advance import advance
from tasks.driving import StopAsked
from tasks.evaluate import BatchResult, answer_from, plan_iteration
from tasks.last_look import SHARE, look_plan, plan_after
from tasks.loop_tasks import evaluate_finally
from tasks.prepare import prepare
from tasks.prepared import Prepared
from tasks.result import FinalEvaluation, final_plan
from tasks.sampling import final_shots
from tasks.state import LoopState, initial
from tests.unit.tasks.by_hand import Run

jax.config.update("jax_enable_x64", True)
pytest.importorskip("qiskit_aer")
TARGET = 1.6e-3
HEH_PLUS = {"kind": "molecule", "geometry": "He 0 0 0; H 0 0 0.7743", "charge": 1}


def prepared_for(seed: int = 1, **sections: object) -> Prepared:
    execution = {"mode": "shots", "policy": "adaptive", "target_std_error": TARGET}
    return prepare(validate({"problem": HEH_PLUS, "seed": seed, "execution": execution, **sections}))


def ended(prepared: Prepared, reason: Reason | None = Reason.PLATEAU) -> LoopState:
    return replace(initial(prepared), iteration=1, reason=reason)


@pytest.mark.parametrize("reason", [Reason.CONVERGED, Reason.PLATEAU, Reason.ITERATION_LIMIT])
def test_a_target_error_is_planned_by_a_look(reason: Reason) -> None:
    prepared = prepared_for()
    state = ended(prepared, reason)
    look = look_plan(prepared, state)
    assert look is not None
    assert look.shots_total == int(SHARE * final_shots(prepared, state))
    assert look.seed != final_plan(prepared, state).seed, "other shots than those that are reported"


@pytest.mark.parametrize("reason", [None, Reason.BUDGET_REACHED, Reason.DIVERGED])
def test_nobody_looks_before_the_end_or_without_means(reason: Reason | None) -> None:
    prepared = prepared_for()
    assert look_plan(prepared, ended(prepared, reason)) is None


def test_nobody_looks_where_variances_do_not_plan_or_are_known() -> None:
    fixed = prepared_for(execution={"mode": "shots", "shots": 10_000})
    assert look_plan(fixed, ended(fixed)) is None
    prepared = prepared_for()
    state = ended(prepared)
    known = replace(state.centre_variances, shots=state.centre_variances.shots * 1e4)
    assert look_plan(prepared, replace(state, centre_group_variances=known)) is None


def test_a_budget_of_shots_keeps_room_for_a_larger_final_evaluation() -> None:
    free = prepared_for()
    state = ended(free)
    look = look_plan(free, state)
    assert look is not None
    needed = state.shots + look.shots_total + 2 * final_shots(free, state)
    assert look_plan(prepared_for(budget={"shots": needed}), state) is not None
    assert look_plan(prepared_for(budget={"shots": needed - 1}), state) is None


def test_the_error_that_was_asked_for_is_met_more_closely() -> None:
    """Over seeds: how far from the target final evaluations of those plans would really end."""
    missed: dict[str, list[float]] = {"without": [], "with": []}
    for seed in range(6):
        prepared = prepared_for(seed=seed)
        state = initial(prepared)
        while state.reason is None:
            state, _ = advance(prepared, state, answer_from(prepared, state, sampled(prepared, state)))
        without = final_plan(prepared, state)
        look = look_plan(prepared, state)
        plan = without if look is None else plan_after(prepared, state, run(prepared, look))
        true = variances_of(prepared, replace(without, shots=np.full(len(without), 100_000), seed=(99,)))
        missed["without"].append(np.sqrt((true / without.shots).sum()) / TARGET - 1)
        missed["with"].append(np.sqrt((true / plan.shots).sum()) / TARGET - 1)
    spread = {name: np.sqrt(np.mean(np.square(values))) for name, values in missed.items()}
    assert spread["with"] < 0.9 * spread["without"]


def test_a_look_makes_the_final_evaluation_at_most_twice_as_large() -> None:
    prepared = prepared_for()
    state = ended(prepared)
    prior = state.centre_variances
    state = replace(state, centre_group_variances=replace(prior, squares=prior.squares / 40))
    look = look_plan(prepared, state)
    assert look is not None
    twice = 2 * final_shots(prepared, state)
    assert plan_after(prepared, state, run(prepared, look)).shots_total == twice


def run(prepared: Prepared, plan: ExecutionPlan) -> BatchResult:
    return BatchResult.free(plan, prepared.device.sample(plan))


def variances_of(prepared: Prepared, plan: ExecutionPlan) -> np.ndarray:
    """Single-shot variances of the groups, shape (groups,), from all shots of a plan of one point."""
    outcome = prepared.device.sample(plan)
    found = []
    for row, group in enumerate(prepared.grouping.groups):
        states, counts = outcome.row(row)
        values = group.values(states)
        found.append(np.average((values - np.average(values, weights=counts)) ** 2, weights=counts))
    return np.array(found)


def sampled(prepared: Prepared, state: LoopState) -> BatchResult:
    return run(prepared, plan_iteration(prepared, state))


def paid_run(journal: Journal, usd: float | None = None) -> Run:
    return Run(journal, usd=usd, shots=None, target_std_error=5e-3)


def evaluate(run: Run) -> FinalEvaluation | State:
    state = replace(run.state, iteration=1, reason=Reason.PLATEAU)
    return evaluate_finally.fn(run.prepared, run.lease, run.buyer, state)


def measured(run: Run) -> FinalEvaluation:
    final = evaluate(run)
    assert isinstance(final, FinalEvaluation)
    return final


def test_a_look_that_is_paid_for_is_bought_once(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    run = paid_run(journal)
    with monkeypatch.context() as patched:

        def killed(*_: object) -> None:
            raise StopAsked

        patched.setattr(loop_tasks, "plan_after", killed)
        assert isinstance(evaluate(run), State)
    (look,) = run.jobs
    assert not look.batch_id.final
    run.interrupt()
    run.drive()
    final = measured(run)
    assert [job.batch_id.final for job in run.jobs] == [False, True]
    assert run.jobs[0].token == look.token
    assert (final.evaluations, final.shots) == (2, sum(job.shots for job in run.jobs))
    assert final.cost_micro_usd == sum(job.cost_micro_usd for job in run.jobs)
    again = measured(run)
    assert (again.energy, again.energy_std_error, len(run.jobs)) == (final.energy, final.energy_std_error, 2)


def test_a_budget_of_money_keeps_room_for_a_larger_final_evaluation(journal: Journal) -> None:
    poor = paid_run(journal, usd=6)
    assert measured(poor).evaluations == 1
    assert [job.batch_id.final for job in poor.jobs] == [True]
