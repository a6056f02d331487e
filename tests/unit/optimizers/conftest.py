"""A closed loop on a known landscape: the smallest driver that the optimizers' contract allows."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import pytest

from optimizers import (
    Evaluation,
    Frequencies,
    Optimizer,
    Progress,
    Reason,
    build_optimizer,
    build_termination,
)
from shotwise.spec.run import OptimizerSpec

Landscape = Callable[[jax.Array], jax.Array]


class Run(NamedTuple):
    """How a loop ended; `energy` is the landscape's own at the final parameters."""

    reason: Reason | None
    iterations: int
    progress: Progress
    energy: float


def evaluate_landscape(
    optimizer: Optimizer[Any], state: Any, landscape: Landscape, noise: float, key: jax.Array | None
) -> Evaluation:
    """The answer to `ask`, with independent normal errors of standard deviation `noise` on every number.

    Without a key there is no error, though the variances say so: random numbers are slow to compile.
    """
    points = optimizer.ask(state)
    values, gradients = jax.vmap(jax.value_and_grad(landscape))(points)
    variances, gradient_variances = jnp.full(values.shape, noise**2), jnp.full(gradients.shape, noise**2)
    if key is not None:
        key_values, key_gradients = jax.random.split(jax.random.fold_in(key, state.iteration))
        values += noise * jax.random.normal(key_values, values.shape)
        gradients += noise * jax.random.normal(key_gradients, gradients.shape)
    metric = jnp.eye(points.shape[1]) / 4
    return Evaluation(values, variances, gradients, gradient_variances, metric)


@pytest.fixture
def evaluate() -> Callable[..., Evaluation]:
    return evaluate_landscape


@functools.cache
def compiled_loop(spec_json: str, landscape: Landscape, parameters: int, noise: float, degree: int) -> Any:
    """The whole run as one jitted function of (x0, key), with its optimizer and termination."""
    spec = OptimizerSpec.model_validate_json(spec_json)
    optimizer = build_optimizer(spec, [Frequencies(1.0, degree)] * parameters)
    termination = build_termination(spec, optimizer)

    def loop(x0: jax.Array, key: jax.Array) -> Any:
        def step(carry: Any) -> Any:
            state, ending = carry
            noise_key = jax.random.fold_in(key, 1000) if noise else None
            state = optimizer.tell(state, evaluate_landscape(optimizer, state, landscape, noise, noise_key))
            return state, termination.update(ending, optimizer.progress(state))

        start = optimizer.init(x0, key), termination.init()
        return jax.lax.while_loop(lambda carry: termination.code(carry[1]) == 0, step, start)

    return optimizer, termination, jax.jit(loop)


@pytest.fixture
def run_loop() -> Callable[..., Run]:
    def run(
        spec: OptimizerSpec,
        landscape: Landscape,
        x0: list[float],
        *,
        noise: float = 0.0,
        seed: int = 0,
        degree: int = 1,
    ) -> Run:
        key = spec.model_dump_json(), landscape, len(x0), noise, degree
        optimizer, termination, loop = compiled_loop(*key)
        state, ending = loop(jnp.asarray(x0), jax.random.PRNGKey(seed))
        progress = optimizer.progress(state)
        reason = termination.reason(ending)
        return Run(reason, int(ending.iteration), progress, float(landscape(progress.parameters)))

    return run
