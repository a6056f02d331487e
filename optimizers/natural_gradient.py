"""Quantum natural gradient: steepest descent in the space of states instead of parameters.

    theta <- theta - learning_rate * (F + regularization * 1)^-1 grad E        (arXiv:1909.02108)

with F the Fubini-Study metric. It is imaginary-time evolution projected on the ansatz, in steps of
``2 * learning_rate`` inverse energy units (arXiv:1804.03023).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple, final

import jax
import jax.numpy as jnp
import optax

from optimizers.options import Option
from optimizers.protocol import Evaluation, Need, Optimizer, Progress, count, gradient_at_first, start_point

DEFAULT_LEARNING_RATE = 0.1
OPTIONS = {"regularization": Option(1e-3, open_minimum=True)}


class NaturalGradientState(NamedTuple):
    """State of `NaturalGradient`: () int64 iteration, (d,) next point, progress at the point before."""

    iteration: jax.Array
    parameters: jax.Array
    last: Progress


@final
@dataclass(frozen=True)
class NaturalGradient(Optimizer[NaturalGradientState]):
    """One gradient and one metric an iteration.

    Attributes:
        learning_rate: in inverse energy units, or an Optax schedule of it.
        regularization: added to the diagonal of the metric, whose entries are of order 1/4. It bounds the
            step along directions in which the state hardly changes.
    """

    learning_rate: float | optax.Schedule = DEFAULT_LEARNING_RATE
    regularization: float = 1e-3

    need: ClassVar[Need] = Need.METRIC

    @property
    def points_per_ask(self) -> int:
        return 1

    @property
    def sweep(self) -> int:
        return 1

    def init(self, x0: jax.Array, key: jax.Array) -> NaturalGradientState:
        x0 = start_point(x0)
        return NaturalGradientState(count(), x0, Progress.start(x0))

    def ask(self, state: NaturalGradientState) -> jax.Array:
        return state.parameters[None, :]

    def tell(self, state: NaturalGradientState, evaluation: Evaluation) -> NaturalGradientState:
        if evaluation.metric is None:
            raise ValueError("this optimizer needs the metric, the evaluation has none")
        gradient = gradient_at_first(evaluation)
        rate = self.learning_rate(state.iteration) if callable(self.learning_rate) else self.learning_rate
        regularized = evaluation.metric + self.regularization * jnp.eye(gradient.shape[0])
        step = jnp.linalg.solve(regularized, gradient)
        last = Progress.at(state.parameters, evaluation.values[0], evaluation.variances[0], gradient=gradient)
        parameters = jnp.asarray(state.parameters - rate * step, jnp.float64)
        return NaturalGradientState(state.iteration + 1, parameters, last)
