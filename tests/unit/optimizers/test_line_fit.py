"""Line fits: the series, its minimum, and the error of the minimum."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optimizers import Evaluation, Frequencies, LineFit
from optimizers.line_fit import FourierSeries, fit_response, fourier_fit, series_minimum

KEY = jax.random.PRNGKey(0)
minimum = jax.jit(series_minimum)


def random_series(degree: int, seed: int) -> FourierSeries:
    numbers = np.random.default_rng(seed).normal(size=2 * degree + 1)
    return FourierSeries(jnp.asarray(numbers[0]), jnp.asarray(numbers[1::2]), jnp.asarray(numbers[2::2]))


@pytest.mark.parametrize("degree", [1, 2, 5, 32])
def test_a_fit_recovers_its_series(degree):
    series = random_series(degree, seed=degree)
    phases = 2 * jnp.pi * jnp.arange(2 * degree + 1) / (2 * degree + 1)
    fitted = fourier_fit(phases, series.at(phases), jnp.asarray(degree), degree)
    for found, true in zip(fitted, series, strict=True):
        np.testing.assert_allclose(found, true, atol=1e-12)


def test_a_lower_degree_is_fitted_by_least_squares():
    phases = 2 * jnp.pi * jnp.arange(7) / 7
    values = jnp.asarray(np.random.default_rng(5).normal(size=7))
    design = np.stack([np.ones(7), np.cos(phases), np.sin(phases)], axis=1)
    expected = np.linalg.lstsq(design, np.asarray(values), rcond=None)[0]
    fitted = fourier_fit(phases, values, jnp.asarray(1), 3)
    np.testing.assert_allclose([fitted.constant, fitted.cosine[0], fitted.sine[0]], expected, atol=1e-12)
    assert not np.any(fitted.cosine[1:])
    response = fit_response(0.4 - phases, jnp.asarray(1), 3)
    assert float(response @ values) == pytest.approx(float(fitted.at(jnp.asarray(0.4))))


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
    points = optimizer.ask(state)
    return optimizer.tell(state, Evaluation(energy(points), jnp.zeros(len(points))))


def test_a_single_line_is_solved_in_one_step_and_shifts_stay_within_half_a_period():
    optimizer = LineFit((Frequencies(0.5, 2),))
    energy = lambda x: (jnp.cos(0.5 * x - 1.0) - 0.4 * jnp.sin(x))[:, 0]  # noqa: E731
    state = told(optimizer, optimizer.init(jnp.array([0.2]), KEY), energy)
    points = optimizer.ask(state)
    assert points.shape == (4, 1)
    assert float(jnp.min(jnp.abs(points - 0.2))) > 1  # the current point is known, and not asked for again
    assert float(jnp.max(jnp.abs(points - 0.2))) <= 2 * np.pi
    last = optimizer.progress(told(optimizer, state, energy))
    dense = energy(jnp.linspace(0, 4 * jnp.pi, 100001)[:, None])
    assert float(last.energy) == pytest.approx(float(jnp.min(dense)), abs=1e-8)
    assert float(energy(last.parameters[None])[0]) == pytest.approx(float(last.energy), abs=1e-12)
    assert np.isnan(last.gradient_norm)


def test_parameters_take_turns_and_the_current_point_is_measured_once_a_round():
    optimizer = LineFit((Frequencies(1.0, 1), Frequencies(2.0, 1), Frequencies(1.0, 0)))
    assert (optimizer.sweep, optimizer.points_per_ask, optimizer.lines_per_round) == (3, 2, 4)
    state = optimizer.init(jnp.zeros(3), KEY)
    energy = lambda points: jnp.sum(jnp.sin(points), axis=1)  # noqa: E731
    for turn in (None, 0, 1, 2, 0, None, 1, 2):
        points = np.asarray(optimizer.ask(state))
        assert np.flatnonzero(np.ptp(points, axis=0)).tolist() == ([] if turn is None else [turn])
        before = state
        state = told(optimizer, state, energy)
        assert bool(state.last.moved) == (turn is not None)
        if turn is None:
            np.testing.assert_array_equal(state.parameters, before.parameters)
            assert float(state.last.energy) == pytest.approx(float(energy(state.parameters[None])[0]))
    assert float(state.parameters[2]) == 0.0  # degree 0: the energy is said not to depend on it


def test_the_variance_of_a_fitted_minimum_is_that_of_many_repetitions():
    """Seeded; with 4000 repetitions a right variance fails the 10 % band with probability below 1e-5."""
    optimizer = LineFit((Frequencies(1.0, 2),))
    before = optimizer.init(jnp.zeros(1), KEY)
    deviations = jnp.array([0.02, 0.005, 0.03, 0.01])
    here = jnp.zeros((4, 1))
    exact = random_series(2, seed=3)
    around = optimizer.ask(told(optimizer, before, lambda points: exact.at(points[:, 0])))

    def fitted(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        state = before
        for points, part in zip((here, around), jax.random.split(key), strict=True):
            noisy = exact.at(points[:, 0]) + deviations * jax.random.normal(part, (4,))
            state = optimizer.tell(state, Evaluation(noisy, deviations**2))
        return state.last.energy, state.last.variance

    energies, variances = jax.jit(jax.vmap(fitted))(jax.random.split(jax.random.PRNGKey(11), 4000))
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
