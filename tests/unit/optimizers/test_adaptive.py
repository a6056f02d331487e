"""Optimizers that choose their own shots, on landscapes with known noise."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chi2

from optimizers import (
    AdaptiveDescent,
    BayesNewton,
    Evaluation,
    Frequencies,
    Optimizer,
    Sampling,
    build_optimizer,
)
from shotwise.errors import SpecError
from shotwise.spec import OptimizerSpec

D = 6
SPECTRUM = tuple(Frequencies(0.5, 2) for _ in range(D))
MINIMUM = np.array([0.4, 0.0, 0.0, -0.3, 0.0, 0.0])
DEPTH = np.array([1.0, 0.5, 0.6, 0.8, 0.4, 0.5])
KEY = jax.random.PRNGKey(0)


# compiled once for equal optimizers, not for each
@partial(jax.jit, static_argnums=(0, 1))
def start(optimizer: Optimizer, parameters: int):
    return optimizer.init(jnp.zeros(parameters), KEY)


@partial(jax.jit, static_argnums=0)
def ask(optimizer: Optimizer, state):
    return optimizer.ask(state)


@partial(jax.jit, static_argnums=0)
def wish(optimizer: Optimizer, state):
    return optimizer.shots(state)


@partial(jax.jit, static_argnums=0)
def tell(optimizer: Optimizer, state, evaluation: Evaluation):
    return optimizer.tell(state, evaluation)


def energy(points: np.ndarray) -> np.ndarray:
    """A trigonometric landscape of the degree of excitations, with couplings; 0 at its minimum."""
    away = points - MINIMUM
    alone = (DEPTH * (1 - 0.7 * np.cos(away) - 0.3 * np.cos(away / 2))).sum(axis=1)
    return alone + 0.1 * np.sin(away[:, 0]) * np.sin(away[:, 3])


def minimise(optimizer, *, shots_max: float, seed: int, deviation: float = 0.5):
    """Drive with Gaussian shot noise; (state, shots, energies at the guesses)."""
    rng = np.random.default_rng(seed)
    state = start(optimizer, D)
    spent, seen = 0.0, []
    while spent < shots_max and not bool(state.last.stalled):
        points, shots = np.asarray(ask(optimizer, state)), np.ceil(np.asarray(wish(optimizer, state)))
        variances = deviation**2 / shots
        values = energy(points) + rng.normal(size=len(points)) * np.sqrt(variances)
        state = tell(optimizer, state, Evaluation(values, variances, shots=shots))
        spent += shots.sum()
        seen.append(float(energy(np.asarray(state.last.parameters)[None])[0]))
    return state, spent, seen


def newton(**options) -> BayesNewton:
    sampling = Sampling(shots_min=10, resolution=5e-3)
    built = build_optimizer(OptimizerSpec(name="bayes_newton", options=options), SPECTRUM, sampling)
    assert isinstance(built, BayesNewton)
    return built


def test_it_finds_the_minimum_and_stops_where_more_shots_cannot_pay() -> None:
    """Fixed seeds; the expected loss at the stop is the resolution, three times it is far out."""
    for seed in range(5):
        state, spent, seen = minimise(newton(), shots_max=1e6, seed=seed)
        assert bool(state.last.stalled)
        assert spent < 1e5
        assert seen[-1] < 3 * 5e-3


def test_parameters_that_noise_alone_moves_stay_where_they_started() -> None:
    state, _, _ = minimise(newton(), shots_max=1e6, seed=1)
    found = np.asarray(state.last.parameters)
    idle = MINIMUM == 0
    assert np.count_nonzero(found[idle]) < idle.sum()
    assert np.abs(found[~idle] - MINIMUM[~idle]).max() < 0.15


def test_shots_grow_towards_the_end_and_go_to_parameters_that_matter() -> None:
    optimizer = newton()
    rng = np.random.default_rng(0)
    state = start(optimizer, D)
    totals = []
    for _ in range(12):
        points, shots = np.asarray(ask(optimizer, state)), np.ceil(np.asarray(wish(optimizer, state)))
        totals.append(shots.sum())
        variances = 0.25 / shots
        values = energy(points) + rng.normal(size=len(points)) * np.sqrt(variances)
        state = tell(optimizer, state, Evaluation(values, variances))
    assert totals[-1] > 3 * totals[1]
    assert min(totals) >= 10 * D
    per_parameter = np.asarray(wish(optimizer, state))[1:].reshape(D, -1).sum(axis=1)
    beside_curvature = per_parameter * np.sqrt(DEPTH)
    assert beside_curvature[MINIMUM != 0].min() > 1.2 * beside_curvature[MINIMUM == 0].max()


believed = jax.jit(BayesNewton._spread_share, static_argnums=0)


def share_learned(coupling: float, seed: int, iterations: int) -> float:
    """Which share of the usual spread of couplings is believed in where they have this standard deviation."""
    rng, optimizer = np.random.default_rng(seed), newton()
    couplings = np.triu(rng.normal(size=(D, D)) * coupling, 1)
    state = start(optimizer, D)
    for _ in range(iterations):
        points, shots = np.asarray(ask(optimizer, state)), 1e3 * np.ceil(np.asarray(wish(optimizer, state)))
        waves = np.sin(points - MINIMUM)
        values = (DEPTH * (1 - np.cos(points - MINIMUM))).sum(axis=1)
        values += np.einsum("pj,jk,pk->p", waves, couplings, waves)
        values += rng.normal(size=len(points)) * 0.5 / np.sqrt(shots)
        state = tell(optimizer, state, Evaluation(values, 0.25 / shots, shots=shots))
    return float(believed(optimizer, state))


def test_how_strongly_parameters_are_coupled_is_learned_from_the_second_centre_on() -> None:
    for seed in range(3):
        assert share_learned(0.0, seed, 1) == share_learned(0.15, seed, 1) == 1.0
        assert share_learned(0.0, seed, 3) < 0.5
        assert share_learned(0.15, seed, 3) == 1.0


def test_a_fee_asks_for_fewer_and_larger_iterations() -> None:
    dear = BayesNewton(SPECTRUM, shots_first=10.0, shots_overhead=5_000.0, resolution=5e-3)
    state, spent, _ = minimise(dear, shots_max=1e6, seed=2)
    cheap, cheap_spent, _ = minimise(newton(), shots_max=1e6, seed=2)
    assert int(state.iteration) < int(cheap.iteration)
    assert spent / int(state.iteration) > cheap_spent / int(cheap.iteration)


def first_shots(fee: float, resolution: float, **fields: float) -> float:
    """Of all shifted points in the first iteration, where a single shot has a variance of 2."""
    sampling = {"shots_first": 10.0, "shots_overhead": fee, "shots_overhead_first": fee, "variance": 2.0}
    optimizer = BayesNewton(SPECTRUM, resolution=resolution, **{**sampling, **fields})
    return float(np.asarray(start(optimizer, D).shots)[1:].sum())


def test_the_first_iteration_comes_within_the_resolution_with_even_odds() -> None:
    alone, median = D**2 * np.sqrt(2.0) / 1e-2, chi2.median(D) / D
    assert first_shots(0.0, 1e-2) == pytest.approx(alone * median, rel=0.05)
    assert first_shots(0.0, 1e-2, shots_first_max=100.0) == pytest.approx(100.0), "a budget may say so"
    assert first_shots(0.0, 0.1) == pytest.approx(2.0 / 0.1**2 * median, rel=0.05), (
        "an energy of that error takes no more"
    )
    assert first_shots(0.0, 0.5) == pytest.approx(10.0 * D), "the least"


def test_where_fees_are_paid_the_first_iteration_tries_to_be_the_last() -> None:
    alone = D**2 * np.sqrt(2.0) / 1e-2
    assert first_shots(3e3, 1e-2) == pytest.approx(1.6 * 3e3), "many times the fees are not worth them"
    for fee in (1e4, 2e4):
        shots = np.linspace(0.8, 5.0, 1000) * alone
        cost = shots + chi2.sf(D * shots / alone, D) * 4 / 3 * fee
        assert first_shots(fee, 1e-2) == pytest.approx(shots[cost.argmin()], rel=0.05)
    assert first_shots(1e6, 1e-2) == pytest.approx(1e6 / 3), "a third of the fees costs hardly more"


def test_the_first_derivatives_are_exact_up_to_the_degree() -> None:
    for degree in (1, 2, 3):
        optimizer = BayesNewton((Frequencies(0.5, degree),), shots_first=1.0)
        x = np.asarray(ask(optimizer, start(optimizer, 1)))[:, 0]
        k = 0.5 * np.arange(1, degree + 1)
        values = (np.cos(np.outer(x, k)) * [0.3, -0.2, 0.1][:degree]).sum(1)
        values += (np.sin(np.outer(x, k)) * [0.5, 0.4, -0.3][:degree]).sum(1)
        design = optimizer._design
        slope = design.later.slope @ values[1:]
        curvature = design.later.centre[0] * values[0] + design.later.curvature @ values[1:]
        assert slope == pytest.approx((k * [0.5, 0.4, -0.3][:degree]).sum())
        assert curvature == pytest.approx(-(k**2 * [0.3, -0.2, 0.1][:degree]).sum())


def adaptive(rule: str, **sampling) -> AdaptiveDescent:
    built = build_optimizer(
        OptimizerSpec(name=rule, options={"lipschitz": 2.0}), None, Sampling(shots_min=10, **sampling)
    )
    assert isinstance(built, AdaptiveDescent)
    return built


def told(optimizer: AdaptiveDescent, slope: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """Shots that the rule asks for after one gradient with these single-shot deviations."""
    state, zero = start(optimizer, len(slope)), np.zeros(1)
    run = np.asarray(wish(optimizer, state))
    evaluation = Evaluation(zero, zero, slope[None], (deviation**2 / run[0, 1:])[None], shots=run)
    return np.asarray(wish(optimizer, tell(optimizer, state, evaluation)))[0, 1:]


def test_gcans_follows_its_equation() -> None:
    slope, deviation, eta, lipschitz = np.array([0.1, 0.02]), np.array([1.0, 3.0]), 0.5, 2.0
    expected = 2 * lipschitz * eta / (2 - lipschitz * eta) * deviation * deviation.sum() / (slope @ slope)
    np.testing.assert_allclose(told(adaptive("gcans"), slope, deviation), np.ceil(expected), atol=1)


def test_icans_follows_its_equation_and_its_cap() -> None:
    slope, deviation, eta, lipschitz = np.array([0.1, 0.001]), np.array([1.0, 1.0]), 0.5, 2.0
    wanted = 2 * lipschitz * eta / (2 - lipschitz * eta) * deviation**2 / (slope**2 + 1e-6 * 0.99)
    found = told(adaptive("icans"), slope, deviation)
    assert found[0] == pytest.approx(np.ceil(wanted[0]), abs=1)
    assert found[1] == found[0] < wanted[1]


def test_fees_ask_for_more_shots_an_iteration_and_none_is_gcans() -> None:
    slope, deviation = np.array([0.1, 0.05]), np.array([1.0, 1.0])
    free = told(adaptive("cost_cans"), slope, deviation)
    np.testing.assert_array_equal(free, told(adaptive("gcans"), slope, deviation))
    dear = told(adaptive("cost_cans", shots_a_job=10_000.0), slope, deviation)
    assert (dear > free).all()


def test_what_chooses_shots_needs_sampled_energies() -> None:
    with pytest.raises(SpecError, match="energies are exact"):
        build_optimizer(OptimizerSpec(name="gcans"), None)


def test_a_step_beyond_stability_is_refused() -> None:
    spec = OptimizerSpec(name="gcans", learning_rate=2.0)
    with pytest.raises(SpecError, match="not below 2"):
        build_optimizer(spec, None, Sampling(shots_min=10))


def test_a_second_tell_does_not_compile_again() -> None:
    for optimizer in (newton(),):
        tell = jax.jit(optimizer.tell)
        state = start(optimizer, D)
        points = optimizer.points_per_ask
        for _ in range(3):
            state = tell(state, Evaluation(jnp.ones(points), jnp.ones(points), shots=jnp.ones(points)))
        assert tell._cache_size() == 1
