"""What every optimizer owes its callers, whatever its method."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optimizers import Evaluation, Frequencies, LineFit, Need, Optimizer, build_optimizer, optimizer_names
from optimizers.gradient_descent import optax_names
from shotwise.spec.run import OptimizerSpec, ScheduleSpec

X0 = jnp.array([0.4, -0.7, 1.1])
KEY = jax.random.PRNGKey(7)
SPECTRUM = [Frequencies(1.0, 2), Frequencies(0.5, 1), Frequencies(2.0, 0)]

SPECS = {
    "adam": OptimizerSpec(name="adam"),
    "scheduled": OptimizerSpec(name="sgd", schedule=ScheduleSpec(kind="warmup_cosine")),
    "momentum": OptimizerSpec(name="sgd", options={"momentum": 0.9, "nesterov": True}),
    "adafactor": OptimizerSpec(name="adafactor"),
    "lbfgs": OptimizerSpec(name="lbfgs", options={"memory": 3.0}),
    "spsa": OptimizerSpec(name="spsa", options={"averages": 3.0}),
    "qng": OptimizerSpec(name="qng", schedule=ScheduleSpec(kind="linear")),
    "rotosolve": OptimizerSpec(name="rotosolve"),
}


def landscape(x):
    return jnp.sum(jnp.sin(x) * jnp.arange(1, 4)) + 0.3 * jnp.cos(2 * x[0]) * jnp.cos(0.5 * x[1])


@pytest.fixture(params=SPECS.values(), ids=SPECS.keys())
def optimizer(request) -> Optimizer:
    return build_optimizer(request.param, SPECTRUM)


@pytest.fixture
def step(optimizer, evaluate):
    """One jitted iteration under noise, and the list that grows by one at every trace of it."""
    traces = []

    @jax.jit
    def step(state):
        traces.append(None)
        return optimizer.tell(state, evaluate(optimizer, state, landscape, 0.01, None))

    step.traces = traces
    return step


def leaves(tree):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


def test_shapes_and_constants(optimizer):
    state = optimizer.init(X0, KEY)
    points = optimizer.ask(state)
    assert points.shape == (optimizer.points_per_ask, 3)
    assert points.dtype == jnp.float64
    assert optimizer.need in Need


def test_states_keep_their_types_and_do_not_recompile(optimizer, step):
    start = optimizer.init(X0, KEY)
    state = start
    for _ in range(4):
        state = step(state)
    assert len(step.traces) == 1
    assert jax.tree.structure(state) == jax.tree.structure(start)
    for after, before in zip(jax.tree.leaves(state), jax.tree.leaves(start), strict=True):
        assert isinstance(before, jax.Array)
        assert (after.shape, after.dtype, after.weak_type) == (before.shape, before.dtype, before.weak_type)
        assert after.dtype in (jnp.float64, jnp.int64, jnp.int32, jnp.uint32, jnp.bool_)
    assert int(state.iteration) == 4


def test_ask_is_idempotent_and_tell_leaves_its_argument_alone(optimizer, step):
    state = step(optimizer.init(X0, KEY))
    before = leaves(state)
    points = optimizer.ask(state)
    step(state)
    assert np.array_equal(points, optimizer.ask(state))
    assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(before, leaves(state), strict=True))


def test_a_stored_state_continues_with_the_same_bytes(optimizer, step):
    state = optimizer.init(X0, KEY)
    for _ in range(3):
        state = step(state)
    stored = leaves(state)
    other = optimizer.init(jnp.zeros(3), jax.random.PRNGKey(0))
    restored = jax.tree.unflatten(jax.tree.structure(other), [jnp.asarray(leaf) for leaf in stored])
    for _ in range(3):
        state, restored = step(state), step(restored)
    for a, b in zip(leaves(state), leaves(restored), strict=True):
        assert a.tobytes() == b.tobytes()


def test_progress_before_and_after_the_first_tell(optimizer, step):
    state = optimizer.init(X0, KEY)
    start = optimizer.progress(state)
    assert np.array_equal(start.parameters, X0)
    assert np.isnan(start.energy)
    assert not start.moved
    told = optimizer.progress(step(state))
    assert np.isfinite(told.energy)
    assert told.variance > 0
    assert told.moved or isinstance(optimizer, LineFit)  # which measures where it stands first
    assert not told.stalled


def test_initial_parameters_are_read_as_float64(optimizer):
    state = optimizer.init(jnp.zeros(3, jnp.float32), KEY)
    assert optimizer.ask(state).dtype == jnp.float64
    with pytest.raises(ValueError, match=r"shape \(d,\)"):
        optimizer.init(jnp.zeros((2, 3)), KEY)


@pytest.mark.parametrize("name", optax_names())
def test_every_optax_optimizer_keeps_float64_and_types(name):
    optimizer = build_optimizer(OptimizerSpec(name=name), None)
    start = jax.eval_shape(optimizer.init, X0, KEY)
    answer = Evaluation(jnp.zeros(1), jnp.zeros(1), jnp.ones((1, 3)))
    after = jax.eval_shape(optimizer.tell, start, answer)
    assert jax.tree.structure(after) == jax.tree.structure(start)
    for a, b in zip(jax.tree.leaves(after), jax.tree.leaves(start), strict=True):
        assert (a.shape, a.dtype, a.weak_type) == (b.shape, b.dtype, b.weak_type)
        assert a.dtype != jnp.float32


def test_names_cover_what_people_know():
    known = {"adam", "adamw", "sgd", "rmsprop", "lion", "adagrad", "nadam", "amsgrad", "radam", "yogi"}
    known |= {"adabelief", "novograd", "lbfgs", "spsa", "qng", "rotosolve"}
    assert known <= set(optimizer_names())
    assert not {"polyak_sgd", "noisy_sgd", "scale_by_adam"} & set(optimizer_names())


@pytest.mark.parametrize(
    ("name", "missing"), [("adam", "gradients"), ("lbfgs", "gradients"), ("qng", "metric")]
)
def test_a_missing_answer_is_an_error(name, missing):
    optimizer = build_optimizer(OptimizerSpec(name=name), None)
    with pytest.raises(ValueError, match=missing):
        optimizer.tell(optimizer.init(X0, KEY), Evaluation(jnp.zeros(1), jnp.zeros(1)))
