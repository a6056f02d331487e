"""The line search of L-BFGS, trial by trial."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optimizers import Evaluation, Lbfgs, Reason, Termination
from optimizers.lbfgs import TRIALS_MAX

KEY = jax.random.PRNGKey(0)
OPTIMIZER = Lbfgs()
tell = jax.jit(OPTIMIZER.tell)


def answer(energy: float, gradient: list[float], variance: float = 0.0) -> Evaluation:
    return Evaluation(jnp.array([energy]), jnp.array([variance]), jnp.array([gradient]))


def test_the_first_point_is_accepted_and_the_first_step_is_at_most_a_radian():
    state = OPTIMIZER.init(jnp.array([1.0, 2.0]), KEY)
    assert OPTIMIZER.ask(state).tolist() == [[1.0, 2.0]]
    state = tell(state, answer(5.0, [300.0, -400.0]))
    assert bool(state.last.moved)
    assert float(state.last.gradient_norm) == 500.0
    step = OPTIMIZER.ask(state)[0] - jnp.array([1.0, 2.0])
    np.testing.assert_allclose(step, [-0.6, 0.8], atol=1e-12)


def test_a_worse_trial_is_rejected_and_the_step_shrinks_by_interpolation():
    state = tell(OPTIMIZER.init(jnp.zeros(1), KEY), answer(0.0, [-1.0]))
    assert OPTIMIZER.ask(state).tolist() == [[1.0]]
    rejected = tell(state, answer(1.0, [3.0]))
    assert not bool(rejected.last.moved)
    assert rejected.last.parameters.tolist() == [0.0]
    assert float(rejected.last.energy) == 0.0
    assert OPTIMIZER.ask(rejected).tolist() == [[0.25]]  # of the parabola through E=0, E'=-1, E(1)=1


@pytest.mark.parametrize("energy", [float("nan"), float("inf"), -float("inf")])
def test_a_trial_that_is_not_finite_halves_the_step(energy):
    state = tell(OPTIMIZER.init(jnp.zeros(1), KEY), answer(0.0, [-1.0]))
    state = tell(state, answer(energy, [0.0]))
    assert not bool(state.last.moved)
    assert OPTIMIZER.ask(state).tolist() == [[0.5]]


def test_a_step_that_is_too_short_is_extended_but_not_forever():
    state = tell(OPTIMIZER.init(jnp.zeros(1), KEY), answer(0.0, [-1.0]))
    asked = []
    for _ in range(5):  # a straight slope: never curved enough
        x = float(OPTIMIZER.ask(state)[0, 0])
        asked.append(x)
        state = tell(state, answer(-x, [-1.0]))
    assert asked == [1.0, 2.0, 4.0, 8.0, 16.0]
    assert bool(state.last.moved)
    assert state.last.parameters.tolist() == [16.0]
    assert np.all(np.isfinite(OPTIMIZER.ask(state)))  # y = 0 was kept out of the memory


def test_noise_relaxes_the_test():
    state = tell(OPTIMIZER.init(jnp.zeros(1), KEY), answer(0.0, [-1.0], variance=0.01))
    assert bool(tell(state, answer(0.2, [0.5], variance=0.01)).last.moved)
    assert not bool(tell(state, answer(0.4, [0.5], variance=0.01)).last.moved)


def wrong_gradients(termination, slope):
    """A loop in which every trial is worse, whatever the gradient promised."""
    update = jax.jit(termination.update)
    state = tell(OPTIMIZER.init(jnp.zeros(1), KEY), answer(0.0, [slope]))
    ending = update(termination.init(), state.last)
    trials = 0
    while termination.reason(ending) is None:
        state = tell(state, answer(1.0, [slope]))
        ending = update(ending, state.last)
        trials += 1
    return termination.reason(ending), trials


def test_rejected_trials_alone_do_not_mean_convergence():
    reason, trials = wrong_gradients(Termination(max_iterations=1000, tolerance=1e-7), slope=-1.0)
    assert reason is Reason.PLATEAU
    assert trials == 2 * TRIALS_MAX


def test_a_search_exhausted_at_a_tiny_gradient_has_converged():
    reason, trials = wrong_gradients(Termination(max_iterations=1000, tolerance=1e-7), slope=-1e-5)
    assert reason is Reason.CONVERGED
    assert trials == 2 * TRIALS_MAX


def test_a_stationary_start_converges_where_it_is():
    termination = Termination(max_iterations=100, tolerance=1e-7)
    update = jax.jit(termination.update)
    state, ending = OPTIMIZER.init(jnp.array([0.5]), KEY), termination.init()
    while termination.reason(ending) is None:
        assert OPTIMIZER.ask(state).tolist() == [[0.5]]
        state = tell(state, answer(-1.0, [0.0]))
        ending = update(ending, state.last)
    assert termination.reason(ending) is Reason.CONVERGED
    assert int(ending.iteration) == 6
