"""The loop's domain half without Prefect: what an iteration does, and that its state survives storage."""

from dataclasses import asdict, replace

import numpy as np
import pytest

from optimizers import Reason
from shotwise.errors import CannotRunError, SpecError
from shotwise.spec import validate
from tasks import segment
from tasks.advance import _noise_of, advance
from tasks.evaluate import BatchResult, answer_exactly, answer_from, plan_iteration
from tasks.prepare import prepare
from tasks.prepared import Prepared
from tasks.result import (
    RunResult,
    build_result,
    final_exact,
    final_from,
    final_plan,
    final_unmeasured,
)
from tasks.segment import STEPS_MAX, compiles, iterate
from tasks.stage import Stage
from tasks.state import LoopState, from_bytes, initial, to_bytes
from tasks.summary import summary_rows

H2 = {"kind": "molecule", "geometry": "H 0 0 0; H 0 0 0.7414"}
SHOTS = {"mode": "shots", "shots": 200, "grouping": "qubit_wise"}
CUT = {"kind": "maxcut", "generator": {"name": "random_regular", "degree": 3, "nodes": 6, "seed": 1}}


def ready(problem: dict, execution: dict | None = None, **sections: object) -> Prepared:
    return prepare(
        validate({"problem": problem, "execution": execution or {"mode": "exact"}, "seed": 7, **sections})
    )


def test_an_ansatz_seldom_grows_where_every_slope_is_noise() -> None:
    """5 % of 2,000 pools of 26; more than 7 % or less than 3 % with probability below 1e-4."""
    rng, sigma = np.random.default_rng(0), np.geomspace(0.1, 3.0, 26)
    draws = rng.normal(size=(2000, 26)) * sigma
    grown = [np.any(np.abs(draw) > _noise_of(draw, sigma**2)) for draw in draws]
    assert 0.03 < np.mean(grown) < 0.07


def test_what_only_noise_hides_is_no_convergence() -> None:
    """H4 from Hartree-Fock: 200 shots do not show its derivatives, which are 0.14 at most."""
    chain = {"kind": "molecule", "geometry": "H 0 0 0; H 0 0 0.9; H 0 0 1.8; H 0 0 2.7"}
    prepared = ready(chain, {"mode": "shots", "shots": 200}, ansatz={"kind": "adapt"}, seed=0)
    state, _ = step(prepared, initial(prepared))
    assert state.operators == ()
    assert state.reason is Reason.PLATEAU


def test_slopes_above_noise_grow_an_ansatz() -> None:
    chain = {"kind": "molecule", "geometry": "H 0 0 0; H 0 0 0.9; H 0 0 1.8; H 0 0 2.7"}
    prepared = ready(chain, {"mode": "shots", "shots": 20_000}, ansatz={"kind": "adapt"})
    state, _ = step(prepared, initial(prepared))
    assert len(state.operators) == 1


def test_the_pilot_is_none_of_the_iterations_that_are_counted() -> None:
    execution = {"mode": "shots", "target_std_error": 0.05}
    prepared = ready(H2, execution, optimizer={"name": "spsa", "max_iterations": 3})
    piloted, _ = step(prepared, initial(prepared))
    assert (piloted.iteration, piloted.iterations) == (1, 0)
    state, records = run(prepared)
    assert [record["iteration"] for record in records] == [0, 1, 2, 3]
    assert result_of(prepared, state).iterations == state.iterations == prepared.iterations_max == 3


def step(prepared: Prepared, state: LoopState):
    if not prepared.sampled:
        return advance(prepared, state, answer_exactly(prepared, state))
    plan = plan_iteration(prepared, state)
    return advance(
        prepared, state, answer_from(prepared, state, BatchResult.free(plan, prepared.device.sample(plan)))
    )


def run(prepared: Prepared, *, store_every: int | None = None, iterations: int = 10_000):
    state, records = initial(prepared), []
    while state.reason is None and len(records) < iterations:
        state, record = step(prepared, state)
        records.append({**vars(record), "at_us": 0})
        if store_every and len(records) % store_every == 0:
            state = from_bytes(prepared, to_bytes(state))
    return state, records


def result_of(prepared: Prepared, state: LoopState) -> RunResult:
    if not prepared.sampled:
        final = final_exact(prepared, state)
    else:
        plan = final_plan(prepared, state)
        final = final_from(prepared, state, BatchResult.free(plan, prepared.device.sample(plan)))
    return build_result(prepared, "run", state.with_sample(final.sample), final)


@pytest.mark.parametrize(
    ("problem", "execution", "sections"),
    [
        (H2, None, {"optimizer": {"name": "adam", "learning_rate": 0.1}}),
        (H2, None, {"optimizer": {"name": "lbfgs"}}),
        (H2, None, {"optimizer": {"name": "rotosolve"}}),
        (H2, None, {"ansatz": {"kind": "adapt"}}),
        (H2, SHOTS, {"optimizer": {"name": "adam", "max_iterations": 8}}),
        (H2, SHOTS, {"optimizer": {"name": "spsa", "max_iterations": 8}}),
        (H2, SHOTS, {"ansatz": {"kind": "adapt", "operators_max": 2}, "optimizer": {"max_iterations": 4}}),
        (CUT, SHOTS, {"optimizer": {"name": "spsa", "max_iterations": 8}}),
        (CUT, None, {"optimizer": {"name": "adam", "max_iterations": 25}}),
    ],
    ids=str,
)
def test_storing_the_state_between_iterations_changes_nothing(
    problem: dict, execution: dict, sections: dict
) -> None:
    prepared = ready(problem, execution, **sections)
    state, records = run(prepared)
    stored, stored_records = run(prepared, store_every=3)
    assert records == stored_records
    assert asdict(result_of(prepared, state)) == asdict(result_of(prepared, stored))
    assert to_bytes(state) == to_bytes(stored)


@pytest.mark.parametrize(
    ("problem", "sections"),
    [
        (H2, {"optimizer": {"name": "adam", "learning_rate": 0.1}}),
        (H2, {"ansatz": {"kind": "adapt"}, "optimizer": {"name": "lbfgs"}}),
        (CUT, {"optimizer": {"name": "spsa", "max_iterations": 25}}),
    ],
    ids=str,
)
def test_where_a_compiled_run_is_cut_changes_no_byte(problem: dict, sections: dict) -> None:
    prepared = ready(problem, **sections)
    whole, records = compiled(prepared, [STEPS_MAX])
    cut, cut_records = compiled(prepared, [1, 2, 5, 3])
    assert to_bytes(whole) == to_bytes(cut)
    assert records == cut_records
    outside, outside_records = run(prepared)
    assert whole.iteration == outside.iteration
    assert whole.reason == outside.reason
    assert whole.sample == outside.sample
    energies, expected = ([r["energy"] for r in rows] for rows in (records, outside_records))
    np.testing.assert_allclose(energies, expected, rtol=0, atol=1e-9)


def compiled(prepared: Prepared, steps: list[int]):
    state, records = initial(prepared), []
    while state.reason is None:
        if compiles(prepared, state):
            state, found = iterate(prepared, state, steps[len(records) % len(steps)])
        else:
            state, record = step(prepared, state)
            found = [record]
        records += [{**vars(record), "at_us": 0} for record in found]
    return state, records


def test_a_growing_ansatz_compiles_its_loop_once() -> None:
    geometry = "H 0 0 0; H 0 0 1.1; H 0 0 2; H 0 0 3"
    adapt = {"kind": "adapt", "operators_max": 5, "gradient_tolerance": 1e-6}
    prepared = ready({**H2, "geometry": geometry}, ansatz=adapt, optimizer={"name": "sgd"})
    before = segment._iterate._cache_size()
    state, _ = compiled(prepared, [STEPS_MAX])
    assert len(state.operators) == 5
    assert state.reason is Reason.OPERATORS_LIMIT
    assert "ansatz.operators_max" in state.reason.advice
    assert segment._iterate._cache_size() == before + 1


@pytest.mark.parametrize("name", ["adam", "lbfgs", "rotosolve", "qng"])
def test_every_exact_optimizer_finds_the_ground_state_of_h2(name: str) -> None:
    prepared = ready(H2, optimizer={"name": name, "max_iterations": 400})
    state, _ = run(prepared)
    result = result_of(prepared, state)
    assert result.reason == Reason.CONVERGED
    assert result.error is not None
    assert abs(result.error) < 1e-5
    assert result.fidelity == pytest.approx(1, abs=1e-4)


def test_adapt_grows_until_its_gradients_vanish() -> None:
    prepared = ready(
        {**H2, "geometry": "H 0 0 0; H 0 0 1; H 0 0 2; H 0 0 3"},
        ansatz={"kind": "adapt"},
        optimizer={"name": "lbfgs"},
    )
    state, _ = run(prepared)
    result = result_of(prepared, state)
    assert result.operators == len(state.operators) > 3
    assert result.error is not None
    assert result.error < 1.6e-3


def test_shots_are_counted_where_they_are_run() -> None:
    prepared = ready(H2, SHOTS, optimizer={"name": "adam", "max_iterations": 3})
    state, records = run(prepared)
    energies = 1 + 4 * prepared.stage().circuit.n_parameters
    assert [r["shots"] for r in records] == [200 * energies] * 3
    assert state.shots == 600 * energies
    plan = plan_iteration(prepared, initial(prepared))
    outcome = prepared.device.sample(plan)
    assert outcome.counts.sum() == plan.shots_total == 200 * energies


def test_iterations_draw_different_numbers_and_seeds_matter() -> None:
    optimizer = {"name": "sgd", "learning_rate": 1e-12, "max_iterations": 4}
    _, records = run(ready(H2, SHOTS, optimizer=optimizer))
    _, others = run(ready(H2, SHOTS, optimizer=optimizer, name="other", seed=8))
    energies = [r["energy"] for r in records]
    assert len(set(energies)) == 4
    assert energies != [r["energy"] for r in others]


def test_a_cut_reports_its_best_sample_in_node_order() -> None:
    prepared = ready(CUT, SHOTS, optimizer={"name": "spsa", "max_iterations": 5})
    state, _ = run(prepared)
    result = result_of(prepared, state)
    edges = [(i, j) for i in range(6) for j in range(i)]
    assert result.bitstring is not None
    assert set(result.bitstring) <= {"0", "1"}
    assert len(result.bitstring) == 6
    assert result.best_cut_value == result.reference_cut_value
    assert result.approximation_ratio == 1
    energy = prepared.problem.hamiltonian.diagonal_at(np.array([int(result.bitstring[::-1], 2)]))[0]
    assert -energy == result.best_cut_value
    assert edges
    assert ("best bitstring", result.bitstring) in summary_rows(result, "")


def test_a_result_round_trips_through_json() -> None:
    prepared = ready(H2)
    result = result_of(prepared, initial(prepared))
    assert RunResult.from_json(result.to_json()) == result


def test_too_few_shots_for_the_groups_are_refused() -> None:
    with pytest.raises(SpecError, match="use at least 10"):
        ready(H2, {**SHOTS, "shots": 9})


def test_a_budget_that_no_step_fits_is_refused_before_anything_runs() -> None:
    with pytest.raises(CannotRunError, match=r"budget.shots"):
        ready(H2, SHOTS, budget={"shots": 2700})
    ready(H2, SHOTS, budget={"shots": 2800})


def test_natural_gradients_need_an_exact_engine() -> None:
    for execution in (SHOTS, {"mode": "exact", "device": "lightning"}):
        with pytest.raises(SpecError, match="natural gradients"):
            ready(H2, execution, optimizer={"name": "qng"})


def test_what_does_not_fit_into_memory_is_refused_with_its_size() -> None:
    cut = {"kind": "maxcut", "edges": [[i, i + 1] for i in range(39)]}
    with pytest.raises(CannotRunError, match="40 qubits"):
        ready(cut)


def test_an_energy_that_is_no_number_ends_the_run_as_diverged() -> None:
    prepared = ready(H2, optimizer={"name": "adam"})
    state, _ = step(prepared, initial(prepared))
    answer = answer_exactly(prepared, state)
    broken = replace(answer, evaluation=answer.evaluation._replace(values=answer.evaluation.values * np.nan))
    state, _ = advance(prepared, state, broken)
    result = result_of(prepared, state)
    assert (result.state, result.reason) == ("failed", Reason.DIVERGED)
    assert result.energy is not None


def test_runs_that_differ_by_their_geometry_share_what_is_compiled() -> None:
    def stage_of(length: float) -> Stage:
        geometry = f"H 0 0 0; H 0 0 {length}"
        return prepare(validate({"problem": {"kind": "molecule", "geometry": geometry}})).stage()

    near, far = stage_of(0.7), stage_of(1.1)
    assert near.optimizer is far.optimizer
    assert near.termination is far.termination


def test_a_run_without_budget_for_its_final_evaluation_says_so_and_has_no_energy() -> None:
    prepared = ready(H2, {"mode": "shots", "target_std_error": 1e-2}, optimizer={"name": "spsa"})
    state = replace(step(prepared, initial(prepared))[0], reason=Reason.BUDGET_REACHED)
    result = build_result(prepared, "run", state, final_unmeasured(prepared, state))
    assert (result.state, result.energy, result.energy_std_error) == ("completed", None, None)
    assert RunResult.from_json(result.to_json()) == result
    told = dict(summary_rows(result, "Ha"))
    assert told["energy"] == "not measured: no budget was left for it"
    assert "energy" not in dict(summary_rows(replace(result, reason="diverged"), "Ha"))
