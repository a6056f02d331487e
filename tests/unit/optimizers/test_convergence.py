"""Every optimizer on landscapes whose minimum is known."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest

from optimizers import Reason
from shotwise.spec.run import OptimizerSpec, ScheduleSpec


def quadratic(x: jax.Array) -> jax.Array:
    """Minimum 0 at 0.3, curvatures 1, 2, ..."""
    return 0.5 * jnp.sum(jnp.arange(1, x.shape[0] + 1) * (x - 0.3) ** 2)


def ill_conditioned(x: jax.Array) -> jax.Array:
    """Minimum 0, condition number 1e6."""
    return 0.5 * jnp.sum(jnp.array([1e-2, 1.0, 1e2, 1e4]) * (x - 0.3) ** 2)


def rosenbrock(x: jax.Array) -> jax.Array:
    """Minimum 0 at 1."""
    return jnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def chain(x: jax.Array) -> jax.Array:
    """Mean-field energy of an open Ising chain in a field of 1/2: degree 1 in every angle."""
    return -jnp.sum(jnp.cos(x[:-1]) * jnp.cos(x[1:])) - 0.5 * jnp.sum(jnp.sin(x))


CHAIN_OF_SIX = -5.492157645626078
"""Minimum of `chain` over six angles, found by SciPy's BFGS from 200 random starts."""


@pytest.mark.parametrize(
    ("name", "iterations_max", "error_max"),
    [
        ("adam", 200, 2e-6),
        ("nadam", 200, 2e-6),
        ("adagrad", 50, 1e-6),
        ("sgd", 60, 1e-6),
        ("lbfgs", 20, 1e-9),
        ("qng", 40, 1e-6),
        ("rotosolve", 40, 1e-9),
    ],
)
def test_finds_the_chain_ground_state(run_loop, name, iterations_max, error_max):
    run = run_loop(OptimizerSpec(name=name), chain, [0.1] * 6)
    assert run.reason is Reason.CONVERGED
    assert run.iterations <= iterations_max
    assert abs(run.energy - CHAIN_OF_SIX) <= error_max
    assert abs(float(run.progress.energy) - run.energy) <= 1e-9


def test_spsa_finds_the_chain_ground_state(run_loop):
    spec = OptimizerSpec(name="spsa", max_iterations=400, options={"averages": 2.0})
    run = run_loop(spec, chain, [0.1] * 6)
    assert abs(run.energy - CHAIN_OF_SIX) <= 1e-3


@pytest.mark.parametrize(
    ("landscape", "x0", "tolerance", "iterations_max"),
    [
        (quadratic, [1.0, 2.0, 3.0], 1e-7, 25),
        (ill_conditioned, [1.0] * 4, 1e-7, 80),
        (rosenbrock, [-1.2, 1.0], 0.0, 80),
        (rosenbrock, [-1.2, 1.0] * 3, 1e-7, 120),
    ],
)
def test_lbfgs_is_fast_on_classics(run_loop, landscape, x0, tolerance, iterations_max):
    run = run_loop(OptimizerSpec(name="lbfgs", tolerance=tolerance), landscape, x0)
    assert run.reason is Reason.CONVERGED
    assert run.iterations <= iterations_max
    assert run.energy <= 1e-12


@pytest.mark.parametrize("name", ["adam", "spsa", "lbfgs", "qng"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_noise_ends_on_a_plateau_near_the_minimum(run_loop, name, seed):
    run = run_loop(
        OptimizerSpec(name=name, max_iterations=1000), quadratic, [1.0, 2.0, 3.0], noise=0.03, seed=seed
    )
    assert run.reason is Reason.PLATEAU
    assert run.energy <= 0.03  # from 12.9 at the start; about one standard error


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_line_fits_withstand_noise(run_loop, seed):
    run = run_loop(
        OptimizerSpec(name="rotosolve", max_iterations=1000), chain, [0.1] * 6, noise=0.03, seed=seed
    )
    assert run.reason is Reason.PLATEAU
    assert run.energy - CHAIN_OF_SIX <= 0.03
    # between that of the current point, measured with both points of a line, and that of a single one
    assert 0.03**2 / 2 <= float(run.progress.variance) * (1 + 1e-9) <= 0.03**2 * (1 + 1e-6)


@pytest.mark.parametrize(("name", "kind"), [("sgd", "warmup_cosine"), ("qng", "exponential_decay")])
def test_schedules_run(run_loop, name, kind):
    spec = OptimizerSpec(name=name, schedule=ScheduleSpec(kind=kind, decay_rate=0.1), max_iterations=100)
    assert run_loop(spec, quadratic, [1.0, 2.0, 3.0]).energy <= 1e-5
