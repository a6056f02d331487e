"""Simultaneous perturbation stochastic approximation: a gradient estimate from two energies.

J. C. Spall, "Implementation of the simultaneous perturbation algorithm for stochastic optimization",
IEEE Trans. Aerosp. Electron. Syst. 34, 817 (1998), steps 1 to 5 of its basic algorithm:

    a_k = a / (A + k + 1)^alpha,    c_k = c / (k + 1)^gamma,
    g_k = [E(theta + c_k Delta) - E(theta - c_k Delta)] / (2 c_k) * Delta,    Delta_i = +-1,
    theta <- theta - a_k g_k.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple, final

import jax
import jax.numpy as jnp

from optimizers.options import Option
from optimizers.protocol import Evaluation, Need, Optimizer, Progress, count, start_point

FIRST_GAIN = 0.15
"""First gain a_0 where the user gives no `a`: 0.15 rad for a slope of one energy unit per radian."""

OPTIONS = {
    "a": Option(None, open_minimum=True),
    "c": Option(0.2, open_minimum=True),
    "alpha": Option(0.602, maximum=1.0, open_minimum=True),
    "gamma": Option(0.101, maximum=1.0, open_minimum=True),
    "averages": Option(1, minimum=1, maximum=1000),
    "step_max": Option(0.3, open_minimum=True),
}


class SpsaState(NamedTuple):
    """State of `Spsa`.

    Attributes:
        iteration: () int64.
        key: (2,) uint32 base key; iteration k draws from ``fold_in(key, k)``.
        parameters: (d,) centre of the next pairs.
        last: progress at the centre of the last pairs.
    """

    iteration: jax.Array
    key: jax.Array
    parameters: jax.Array
    last: Progress


@final
@dataclass(frozen=True)
class Spsa(Optimizer[SpsaState]):
    """`averages` pairs of energies an iteration, whatever the number of parameters.

    The energy reported is the mean over the pairs, which lies above that at their centre by about
    ``c_k^2/2 * tr(Hessian)``; it tends to the centre's as c_k falls.

    Attributes:
        a: gain, radians^2 per energy unit.
        stability: A of the gain sequence, a tenth of the iterations by Spall's advice.
        c: perturbation in radians; more under noise.
        alpha, gamma: decay of the gains; 0.602 and 0.101 are Spall's, close to the
            slowest decay that its theory allows.
        averages: pairs per iteration.
        step_max: bound on the change of any parameter in one step, radians: a steep start would
            otherwise throw them into another basin.
    """

    a: float
    stability: float
    c: float = 0.2
    alpha: float = 0.602
    gamma: float = 0.101
    averages: int = 1
    step_max: float = 0.3

    need: ClassVar[Need] = Need.VALUE

    @property
    def points_per_ask(self) -> int:
        return 2 * self.averages

    @property
    def sweep(self) -> int:
        return 1

    def init(self, x0: jax.Array, key: jax.Array) -> SpsaState:
        x0 = start_point(x0)
        if jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
            key = jax.random.key_data(key)
        return SpsaState(count(), key, x0, Progress.start(x0))

    def ask(self, state: SpsaState) -> jax.Array:
        """All forward points, then all backward points, in the same order of pairs."""
        shifts = self._perturbation(state.iteration) * self._signs(state)
        return jnp.concatenate([state.parameters + shifts, state.parameters - shifts])

    def tell(self, state: SpsaState, evaluation: Evaluation) -> SpsaState:
        forward, backward = jnp.reshape(evaluation.values, (2, self.averages))
        slopes = (forward - backward) / (2 * self._perturbation(state.iteration))
        gradient = jnp.mean(slopes[:, None] * self._signs(state), axis=0)
        step = self._gain(state.iteration) * gradient
        step = step * self.step_max / jnp.maximum(jnp.max(jnp.abs(step)), self.step_max)
        points = self.points_per_ask
        last = Progress.at(
            state.parameters, jnp.mean(evaluation.values), jnp.sum(evaluation.variances) / points**2
        )
        return SpsaState(state.iteration + 1, state.key, state.parameters - step, last)

    def _gain(self, iteration: jax.Array) -> jax.Array:
        return self.a / (self.stability + iteration + 1) ** self.alpha

    def _perturbation(self, iteration: jax.Array) -> jax.Array:
        return self.c / (iteration + 1.0) ** self.gamma

    def _signs(self, state: SpsaState) -> jax.Array:
        key = jax.random.fold_in(state.key, state.iteration)
        return jax.random.rademacher(key, (self.averages, state.parameters.shape[0]), jnp.float64)


def default_gain(stability: float, alpha: float) -> float:
    """The gain `a` that makes the first step `FIRST_GAIN` times the gradient."""
    return FIRST_GAIN * (stability + 1) ** alpha
