"""Gradient descent that chooses its own shots: the coupled adaptive number of shots family (CANS).

A step of rate eta on a landscape whose gradient is L-Lipschitz gains at least

    G = A - B / S,   A = (eta - L eta^2 / 2) |chi|^2,   B = (L eta^2 / 2) (sum_l sigma_l)^2,

for S shots shared by sigma_l, chi being the gradient and sigma_l^2 the single-shot variance of derivative l,
both as bias-corrected moving averages. The rules differ in what they make the most of:

* `gcans` (arXiv:2108.10434): gain per shot, S = 2 B / A, that is eq. 10,
  s_l = 2 L eta / (2 - L eta) * sigma_l * sum(sigma) / |chi|^2.
* `icans` (iCANS1, arXiv:1909.09083): each parameter on its own,
  s_l = 2 L eta / (2 - L eta) * sigma_l^2 / (chi_l^2 + b mu^k), capped at the s of the best gain per shot.
* `cost_cans`: gain per money, where an iteration costs F shots' worth of fees before its first shot:
  (A - B/S) / (F + S) is largest at S = (B/A) (1 + sqrt(1 + A F / B)). Without fees it is gcans. The nearest
  published rule that counts fees is arXiv:2302.04422.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, final

import jax
import jax.numpy as jnp

from optimizers.gradient_descent import GradientDescent, GradientDescentState
from optimizers.options import Option
from optimizers.protocol import Evaluation, Need, Optimizer, Progress

Rule = Literal["gcans", "icans", "cost_cans"]

OPTIONS = {
    "lipschitz": Option(1.0, open_minimum=True),
    "mu": Option(0.99, maximum=1.0, open_maximum=True),
    "b": Option(1e-6, open_minimum=True),
    "shots_max": Option(1_000_000, minimum=1, maximum=10**9),
}


class AdaptiveDescentState(NamedTuple):
    """State of `AdaptiveDescent`.

    Attributes:
        descent: of the optimizer that moves the parameters.
        gradient, variances: (d,) moving averages of gradient and single-shot variances, not bias-corrected.
        shots: (1, 1 + d) for the next point.
    """

    descent: GradientDescentState
    gradient: jax.Array
    variances: jax.Array
    shots: jax.Array

    @property
    def iteration(self) -> jax.Array:
        return self.descent.iteration

    @property
    def last(self) -> Progress:
        return self.descent.last


@final
@dataclass(frozen=True)
class AdaptiveDescent(Optimizer[AdaptiveDescentState]):
    """See the module.

    Attributes:
        descent: what moves the parameters; the papers' is plain gradient descent.
        rule: how shots are chosen.
        learning_rate: eta, below 2 / `lipschitz`.
        shots_min, shots_max: bounds on the shots of a derivative.
        shots_overhead: F, an iteration's fees, as the number of shots that the same money buys.
        lipschitz: L, energy per radian squared.
        mu, b: memory of the averages and the regularisation of icans; the papers' defaults.
    """

    descent: GradientDescent
    rule: Rule
    learning_rate: float
    shots_min: float
    shots_overhead: float = 0.0
    lipschitz: float = 1.0
    mu: float = 0.99
    b: float = 1e-6
    shots_max: float = 1e6

    need: ClassVar[Need] = Need.GRADIENT

    @property
    def points_per_ask(self) -> int:
        return 1

    @property
    def sweep(self) -> int:
        return 1

    def init(self, x0: jax.Array, key: jax.Array) -> AdaptiveDescentState:
        descent = self.descent.init(x0, key)
        zero = jnp.zeros_like(descent.parameters)
        return AdaptiveDescentState(descent, zero, zero, self._shots_of_next(zero + self.shots_min))

    def ask(self, state: AdaptiveDescentState) -> jax.Array:
        return self.descent.ask(state.descent)

    def shots(self, state: AdaptiveDescentState) -> jax.Array:
        return state.shots

    def tell(self, state: AdaptiveDescentState, evaluation: Evaluation) -> AdaptiveDescentState:
        if evaluation.gradients is None or evaluation.gradient_variances is None:
            raise ValueError("this optimizer needs gradients with variances")
        run = state.shots if evaluation.shots is None else evaluation.shots
        variances = evaluation.gradient_variances[0] * run[0, 1:]
        descent = self.descent.tell(state.descent, evaluation)
        gradient = self.mu * state.gradient + (1 - self.mu) * evaluation.gradients[0]
        variances = self.mu * state.variances + (1 - self.mu) * variances
        seen = 1 - self.mu**descent.iteration
        wanted = self._rule(gradient / seen, variances / seen, descent.iteration)
        return AdaptiveDescentState(descent, gradient, variances, self._shots_of_next(wanted))

    def _rule(self, gradient: jax.Array, variances: jax.Array, iteration: jax.Array) -> jax.Array:
        """(d,) shots of the next derivatives."""
        eta, L = self.learning_rate, self.lipschitz
        sigma = jnp.sqrt(variances)
        gained, lost = eta - L * eta**2 / 2, L * eta**2 / 2
        tiny = 1e-300
        if self.rule == "icans":
            wanted = 2 * lost / gained * variances / (gradient**2 + self.b * self.mu**iteration)
            gains = (gained * gradient**2 - lost * variances / jnp.maximum(wanted, 1.0)) / jnp.maximum(
                wanted, 1.0
            )
            return jnp.minimum(wanted, wanted[jnp.argmax(gains)])
        A = gained * jnp.sum(gradient**2)
        B = lost * jnp.sum(sigma) ** 2
        fee = self.shots_overhead if self.rule == "cost_cans" else 0.0
        total = B / jnp.maximum(A, tiny) * (1 + jnp.sqrt(1 + A * fee / jnp.maximum(B, tiny)))
        return total * sigma / jnp.maximum(jnp.sum(sigma), tiny)

    def _shots_of_next(self, wanted: jax.Array) -> jax.Array:
        bounded = jnp.clip(jnp.ceil(wanted), self.shots_min, self.shots_max)
        return jnp.concatenate([jnp.full(1, self.shots_min), bounded])[None, :]


def adaptive_options(options: dict[str, Any]) -> dict[str, float | bool]:
    """Those of `options` that belong to the rule rather than to the descent."""
    return {name: value for name, value in options.items() if name in OPTIONS}
