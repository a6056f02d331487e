"""Line fits: the series, its minimum, and the error of the minimum."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optimizers import Evaluation, Frequencies, LineFit
from optimizers.line_fit import FourierSeries, fit_response, fourier_fit, series_minimum

KEY = jax.random.PRNGKey(0)
ask, tell = jax.jit(LineFit.ask, static_argnums=0), jax.jit(LineFit.tell, static_argnums=0)
at, fit = jax.jit(FourierSeries.at), jax.jit(fourier_fit, static_argnums=3)
minimum = jax.jit(series_minimum)


def random_series(degree: int, seed: int) -> FourierSeries:
    numbers = np.random.default_rng(seed).normal(size=2 * degree + 1)
    return FourierSeries(*map(jax.device_put, (numbers[0], numbers[1::2], numbers[2::2])))


@pytest.mark.parametrize("degree", [1, 2, 5, 32])
def test_a_fit_recovers_its_series(degree):
    series = random_series(degree, seed=degree)
    phases = 2 * np.pi * np.arange(2 * degree + 1) / (2 * degree + 1)
    fitted = fit(phases, at(series, phases), degree, degree)
    for found, true in zip(fitted, series, strict=True):
        np.testing.assert_allclose(found, true, atol=1e-12)


def test_a_lower_degree_is_fitted_by_least_squares():
    phases = 2 * np.pi * np.arange(7) / 7
    values = np.random.default_rng(5).normal(size=7)
    design = np.stack([np.ones(7), np.cos(phases), np.sin(phases)], axis=1)
    expected = np.linalg.lstsq(design, values, rcond=None)[0]
    fitted = fit(phases, values, 1, 3)
    np.testing.assert_allclose([fitted.constant, fitted.cosine[0], fitted.sine[0]], expected, atol=1e-12)
    assert not np.any(np.asarray(fitted.cosine)[1:])
    response = np.asarray(jax.jit(fit_response, static_argnums=2)(0.4 - phases, 1, 3))
    assert float(response @ values) == pytest.approx(float(at(fitted, 0.4)))


@pytest.mark.parametrize("degree", [1, 2, 3, 8, 32])
@pytest.mark.parametrize("seed", range(4))
def test_the_minimum_is_global(degree, seed):
    series = random_series(degree, seed)
    found = minimum(series)
    k = np.arange(1, degree + 1)

    def energy(phases):
        return series.constant + np.cos(phases * k) @ series.cosine + np.sin(phases * k) @ series.sine

    dense = energy(np.linspace(-np.pi, np.pi, 20001)[:, None])
    assert energy(float(found)) <= np.min(dense) + 1e-12


def test_a_flat_line_is_not_walked_along():
    for wobble in (0.0, 1e-16):
        series = FourierSeries(jnp.asarray(-7.8), jnp.full(2, wobble), jnp.full(2, -wobble))
        assert float(minimum(series)) == 0.0


def test_at_the_minimum_already_nothing_moves():
    series = FourierSeries(jnp.asarray(0.3), jnp.array([-1.0, 0.0]), jnp.array([0.0, 0.0]))
    assert float(minimum(series)) == 0.0


def told(optimizer: LineFit, state, energy):
    """The state after one exact answer."""
    points = np.asarray(ask(optimizer, state))
    return tell(optimizer, state, Evaluation(energy(points), np.zeros(len(points))))


def test_a_single_line_is_solved_in_one_step_and_shifts_stay_within_half_a_period():
    optimizer = LineFit((Frequencies(0.5, 2),))
    energy = lambda x: (np.cos(0.5 * x - 1.0) - 0.4 * np.sin(x))[:, 0]  # noqa: E731
    state = told(optimizer, optimizer.init(jnp.array([0.2]), KEY), energy)
    points = np.asarray(ask(optimizer, state))
    assert points.shape == (4, 1)
    assert np.min(np.abs(points - 0.2)) > 1  # the current point is known, and not asked for again
    assert np.max(np.abs(points - 0.2)) <= 2 * np.pi
    last = optimizer.progress(told(optimizer, state, energy))
    dense = energy(np.linspace(0, 4 * np.pi, 100001)[:, None])
    assert float(last.energy) == pytest.approx(np.min(dense), abs=1e-8)
    assert energy(np.asarray(last.parameters)[None])[0] == pytest.approx(float(last.energy), abs=1e-12)
    assert np.isnan(last.gradient_norm)


def test_parameters_take_turns_and_the_current_point_is_measured_once_a_round():
    optimizer = LineFit((Frequencies(1.0, 1), Frequencies(2.0, 1), Frequencies(1.0, 0)))
    assert (optimizer.sweep, optimizer.points_per_ask, optimizer.lines_per_round) == (3, 2, 4)
    state = optimizer.init(jnp.zeros(3), KEY)
    energy = lambda points: np.sum(np.sin(points), axis=1)  # noqa: E731
    for turn in (None, 0, 1, 2, 0, None, 1, 2):
        points = np.asarray(ask(optimizer, state))
        assert np.flatnonzero(np.ptp(points, axis=0)).tolist() == ([] if turn is None else [turn])
        before = state
        state = told(optimizer, state, energy)
        assert bool(state.last.moved) == (turn is not None)
        if turn is None:
            np.testing.assert_array_equal(state.parameters, before.parameters)
            assert float(state.last.energy) == pytest.approx(energy(np.asarray(state.parameters)[None])[0])
    assert float(state.parameters[2]) == 0.0  # degree 0: the energy is said not to depend on it


def test_the_variance_of_a_fitted_minimum_is_that_of_many_repetitions():
    """Seeded; with 4000 repetitions a right variance fails the 10 % band with probability below 1e-5."""
    optimizer = LineFit((Frequencies(1.0, 2),))
    before = optimizer.init(jnp.zeros(1), KEY)
    deviations = np.array([0.02, 0.005, 0.03, 0.01])
    noise = deviations * np.random.default_rng(11).normal(size=(4000, 2, 4))
    here = np.zeros((4, 1))
    exact = random_series(2, seed=3)
    around = ask(optimizer, told(optimizer, before, lambda points: at(exact, points[:, 0])))

    def fitted(errors: jax.Array) -> tuple[jax.Array, jax.Array]:
        state = before
        for points, part in zip((here, around), errors, strict=True):
            state = optimizer.tell(state, Evaluation(exact.at(points[:, 0]) + part, deviations**2))
        return state.last.energy, state.last.variance

    energies, variances = jax.jit(jax.vmap(fitted))(noise)
    assert float(jnp.var(energies)) == pytest.approx(float(jnp.mean(variances)), rel=0.1)


def test_impossible_spectra_are_refused():
    with pytest.raises(ValueError, match="base"):
        Frequencies(0.0, 1)
    with pytest.raises(ValueError, match="base"):
        Frequencies(float("nan"), 1)
    with pytest.raises(ValueError, match="degree"):
        Frequencies(1.0, -1)
    with pytest.raises(ValueError, match="at least one"):
        LineFit(())
    with pytest.raises(ValueError, match="2 were given"):
        LineFit((Frequencies(1.0, 1),)).init(jnp.zeros(2), KEY)
