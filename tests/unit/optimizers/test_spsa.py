"""SPSA: perturbations, gains and the gradient estimate."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optimizers import Evaluation, Spsa

X0 = jnp.array([0.5, -0.2, 0.9])


def test_pairs_are_symmetric_with_the_perturbation_of_the_iteration():
    optimizer = Spsa(a=1.0, stability=10.0, c=0.2, averages=4)
    state = optimizer.init(X0, jax.random.PRNGKey(1))
    for iteration in range(3):
        points = np.asarray(optimizer.ask(state))
        np.testing.assert_allclose(
            (points[:4] + points[4:]) / 2, np.tile(state.parameters, (4, 1)), atol=1e-15
        )
        expected = 0.2 / (iteration + 1) ** 0.101
        np.testing.assert_allclose(np.abs(points[:4] - np.asarray(state.parameters)), expected, atol=1e-12)
        state = optimizer.tell(state, Evaluation(jnp.zeros(8), jnp.zeros(8)))


def test_one_step_is_the_published_one():
    optimizer = Spsa(a=0.5, stability=20.0, c=0.1, step_max=10.0)
    state = optimizer.init(X0, jax.random.PRNGKey(2))
    points = optimizer.ask(state)
    signs = np.sign(points[0] - X0)
    told = optimizer.tell(state, Evaluation(jnp.array([1.3, 0.9]), jnp.array([0.02, 0.04])))
    gain = 0.5 / 21.0**0.602
    np.testing.assert_allclose(told.parameters, X0 - gain * (1.3 - 0.9) / 0.2 * signs, atol=1e-12)
    assert float(told.last.energy) == pytest.approx(1.1)
    assert float(told.last.variance) == pytest.approx(0.06 / 4)
    assert told.last.parameters.tolist() == X0.tolist()


def test_a_steep_start_is_bounded():
    optimizer = Spsa(a=1.0, stability=0.0, step_max=0.3)
    state = optimizer.init(X0, jax.random.PRNGKey(2))
    told = optimizer.tell(state, Evaluation(jnp.array([1e6, 0.0]), jnp.zeros(2)))
    np.testing.assert_allclose(np.abs(told.parameters - X0), 0.3, atol=1e-12)


def test_the_estimate_is_unbiased_on_a_plane():
    """The mean of Delta Delta^T is the identity; seeded, 2000 pairs, within 5 standard errors."""
    slope = jnp.array([1.0, -2.0, 0.5])
    optimizer = Spsa(a=1.0, stability=0.0, averages=2000, step_max=100.0)
    state = optimizer.init(jnp.zeros(3), jax.random.PRNGKey(5))
    told = optimizer.tell(state, Evaluation(optimizer.ask(state) @ slope, jnp.zeros(4000)))
    np.testing.assert_allclose(-told.parameters, slope, atol=5 * 2.3 / np.sqrt(2000))


def test_seeds_differ_and_new_style_keys_are_read():
    optimizer = Spsa(a=1.0, stability=0.0, averages=8)
    first = optimizer.ask(optimizer.init(X0, jax.random.PRNGKey(1)))
    second = optimizer.ask(optimizer.init(X0, jax.random.PRNGKey(2)))
    assert not np.array_equal(first, second)
    assert np.array_equal(first, optimizer.ask(optimizer.init(X0, jax.random.key(1))))
