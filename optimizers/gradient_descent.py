"""Gradient descent in all its first-order forms: any Optax optimizer by name, as ask and tell."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, final

import jax
import jax.numpy as jnp
import optax

from optimizers.options import Option, read_options
from optimizers.protocol import Evaluation, Need, Optimizer, Progress, count, gradient_at_first, start_point
from shotwise.errors import SpecError

DEFAULT_LEARNING_RATE = 0.05
"""Radians per step, for the Adam family: the step is about the learning rate whatever the gradient."""

_DEFAULT_LEARNING_RATES = {
    "adadelta": 1.0,
    "adagrad": 0.3,
    "fromage": 0.01,
    "lion": 0.01,
    "optimistic_gradient_descent": 0.1,
    "rprop": 0.01,
    "sgd": 0.2,
    "sign_sgd": 0.01,
    "signum": 0.01,
    "sm3": 0.3,
}

_NOT_DESCENT = frozenset(
    {
        "lbfgs",  # wants to evaluate points of its own; optimizers.lbfgs asks for them instead
        "noisy_sgd",  # draws noise from a key of its own, which the run's seed would not govern
        "optimistic_adam",  # deprecated for optimistic_adam_v2
    }
)
_NOT_OPTIONS = ("mask", "dtype", "key", "seed")
_DECAYS = frozenset({"b1", "b2", "b3", "beta", "decay", "decay_rate", "momentum", "rho"})


class GradientDescentState(NamedTuple):
    """State of `GradientDescent`.

    Attributes:
        iteration: () int64.
        parameters: (d,) the next point to evaluate.
        moments: the Optax state.
        last: progress; its parameters are the point evaluated last.
    """

    iteration: jax.Array
    parameters: jax.Array
    moments: optax.OptState
    last: Progress


@final
@dataclass(frozen=True)
class GradientDescent(Optimizer[GradientDescentState]):
    """One gradient an iteration, handed to an Optax gradient transformation.

    Attributes:
        name: what Optax calls it.
        transformation: an Optax optimizer that needs gradient and parameters only.
    """

    name: str
    transformation: optax.GradientTransformation

    need: ClassVar[Need] = Need.GRADIENT

    @property
    def points_per_ask(self) -> int:
        return 1

    @property
    def sweep(self) -> int:
        return 1

    def init(self, x0: jax.Array, key: jax.Array) -> GradientDescentState:
        x0 = start_point(x0)
        return GradientDescentState(count(), x0, _strong(self.transformation.init(x0)), Progress.start(x0))

    def ask(self, state: GradientDescentState) -> jax.Array:
        return state.parameters[None, :]

    def tell(self, state: GradientDescentState, evaluation: Evaluation) -> GradientDescentState:
        gradient = gradient_at_first(evaluation)
        updates, moments = self.transformation.update(gradient, state.moments, state.parameters)
        parameters = jnp.asarray(optax.apply_updates(state.parameters, updates))
        last = Progress.at(state.parameters, evaluation.values[0], evaluation.variances[0], gradient=gradient)
        return GradientDescentState(state.iteration + 1, parameters, _strong(moments), last)


def _strong(tree: optax.OptState) -> optax.OptState:
    """The same arrays without weak types, which would make the second call of a jitted loop compile again."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.asarray(leaf).dtype), tree)


@functools.cache
def optax_names() -> tuple[str, ...]:
    """Every public Optax optimizer that takes a learning rate and needs nothing but gradients."""
    return tuple(sorted(name for name in dir(optax) if _is_descent(name)))


def _is_descent(name: str) -> bool:
    if name.startswith(("_", "scale_by_")) or name in _NOT_DESCENT:
        return False
    function = getattr(optax, name)
    if not (inspect.isfunction(function) or isinstance(function, functools.partial)):  # nadam is a partial
        return False
    signature = inspect.signature(function)
    required = [p.name for p in signature.parameters.values() if p.default is inspect.Parameter.empty]
    return (
        "learning_rate" in signature.parameters
        and set(required) <= {"learning_rate"}
        and "GradientTransformation" in str(signature.return_annotation)
    )


def optax_options(name: str) -> dict[str, Option]:
    """The numeric and boolean options of an Optax optimizer, read from its signature."""
    parameters = inspect.signature(_function(name)).parameters.values()
    return {
        p.name: _option(p.name, p.default)
        for p in parameters
        if p.name != "learning_rate"
        and not any(word in p.name for word in _NOT_OPTIONS)
        and (p.default is None or isinstance(p.default, bool | int | float))
    }


def _function(name: str) -> Callable[..., optax.GradientTransformation]:
    return getattr(optax, name)


def _option(name: str, default: Any) -> Option:
    # optimistic_gradient_descent calls a plain factor beta: only a default below one marks a decay
    decays = name in _DECAYS and (default is None or default < 1)
    return Option(default, maximum=1.0, open_maximum=True) if decays else Option(default)


def build_gradient_descent(
    name: str, learning_rate: float | optax.Schedule, options: Mapping[str, float | bool]
) -> GradientDescent:
    """An Optax optimizer by name (one of `optax_names`).

    Raises:
        SpecError: an option that it does not have or cannot use, or a schedule where it takes a constant.
    """
    checked = read_options(name, options, optax_options(name))
    try:
        optimizer = GradientDescent(name, _function(name)(learning_rate, **checked))
        _rehearse(optimizer)
    except Exception as error:
        if checked:
            why = " ".join(str(error).split())
            remedy = "give other values, or leave them out"
            raise SpecError("optimizer.options", checked, f"{name} refuses them: {why}", remedy) from error
        if callable(learning_rate):
            raise SpecError(
                "optimizer.schedule.kind", name, "takes no schedule", "use kind constant"
            ) from error
        raise
    return optimizer


def _rehearse(optimizer: GradientDescent) -> None:
    """Trace one step, so that what Optax objects to is heard before the run starts."""

    def step(x: jax.Array) -> GradientDescentState:
        scalar = jnp.zeros((1,))
        return optimizer.tell(optimizer.init(x, x), Evaluation(scalar, scalar, x[None, :]))

    jax.eval_shape(step, jax.ShapeDtypeStruct((2,), jnp.float64))


def default_learning_rate(name: str) -> float:
    """A learning rate in radians that suits energies of order one."""
    return _DEFAULT_LEARNING_RATES.get(name, DEFAULT_LEARNING_RATE)
