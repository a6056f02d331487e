"""L-BFGS with a line search that asks for one trial point at a time.

Directions are Optax's two-loop recursion (Nocedal & Wright, Numerical Optimization, 2nd ed., algorithm 7.4).
The step is found by the weak Wolfe bisection of Lewis & Overton, Math. Program. 141, 135 (2013), algorithm
2.6, its first contractions sharpened by quadratic interpolation: with phi(t) = E(theta + t p),

    phi(t) <= phi(0) + c1 t phi'(0)   (Armijo: otherwise t is too long),
    phi'(t) >= c2 phi'(0)             (curvature: otherwise t is too short).

The second condition makes every remembered pair (s, y) curve upwards, which backtracking alone does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple, final

import jax
import jax.numpy as jnp
import optax

from optimizers.options import Option
from optimizers.protocol import (
    ROUNDING,
    Evaluation,
    Need,
    Optimizer,
    Progress,
    count,
    gradient_at_first,
    start_point,
)

ARMIJO = 1e-4
CURVATURE = 0.9
"""c1 and c2 above: the usual ones for quasi-Newton directions."""

TRIALS_MAX = 20
"""Trials along one direction before it is given up."""

EXTENSIONS_MAX = 4
"""Trials after which a step that lowers the energy is taken, however short."""

STEP_MAX_RAD = 1.0
"""Bound on the first trial's change of any parameter: beyond, a periodic landscape shows another basin."""

NOISE_STANDARD_ERRORS = 2.0
"""A trial may look worse by this many standard errors of the difference and still be taken."""

OPTIONS = {"memory": Option(10, minimum=1, maximum=1000)}


class LbfgsState(NamedTuple):
    """State of `Lbfgs`.

    Attributes:
        iteration: () int64, trial points told.
        memory: the Optax state: the last pairs of steps and gradient changes.
        parameters, energy, variance, gradient: the accepted point, (d,), (), (), (d,).
        direction: (d,) direction p of the search from there; zero before the first `tell`.
        slope: () phi'(0), the derivative along it.
        step: () t of the next trial.
        lower, upper: () the bracket of t: too short, too long (infinite while unknown).
        trials: () int64, trials rejected along this direction.
        steepest: () bool, whether the direction is the bare gradient after a given-up search.
        last: progress.
    """

    iteration: jax.Array
    memory: optax.OptState
    parameters: jax.Array
    energy: jax.Array
    variance: jax.Array
    gradient: jax.Array
    direction: jax.Array
    slope: jax.Array
    step: jax.Array
    lower: jax.Array
    upper: jax.Array
    trials: jax.Array
    steepest: jax.Array
    last: Progress


class _Trial(NamedTuple):
    """A told trial point, and what the line search makes of it."""

    point: jax.Array
    energy: jax.Array
    variance: jax.Array
    gradient: jax.Array
    too_long: jax.Array


@final
@dataclass(frozen=True)
class Lbfgs(Optimizer[LbfgsState]):
    """One trial point with its gradient an iteration; `progress` reports the last accepted one.

    A trial that fails sets `moved` False. A search that fails along the bare gradient too sets `stalled`.

    Attributes:
        memory: pairs remembered.
    """

    memory: int = 10

    need: ClassVar[Need] = Need.GRADIENT

    @property
    def points_per_ask(self) -> int:
        return 1

    @property
    def sweep(self) -> int:
        return 1

    @property
    def _directions(self) -> optax.GradientTransformation:
        return optax.scale_by_lbfgs(self.memory)

    def init(self, x0: jax.Array, key: jax.Array) -> LbfgsState:
        x0 = start_point(x0)
        zero, zeros = jnp.zeros((), jnp.float64), jnp.zeros_like(x0)
        return LbfgsState(
            iteration=count(),
            memory=self._directions.init(x0),
            parameters=x0,
            energy=zero,
            variance=zero,
            gradient=zeros,
            direction=zeros,
            slope=zero,
            step=zero,
            lower=zero,
            upper=jnp.full((), jnp.inf, jnp.float64),
            trials=count(),
            steepest=jnp.zeros((), jnp.bool_),
            last=Progress.start(x0),
        )

    def ask(self, state: LbfgsState) -> jax.Array:
        return (state.parameters + state.step * state.direction)[None, :]

    def tell(self, state: LbfgsState, evaluation: Evaluation) -> LbfgsState:
        first = state.iteration == 0
        trial = _judge(state, self.ask(state)[0], evaluation)
        noisy = trial.variance > 0  # a sampled slope is too rough to insist on
        long_enough = trial.gradient @ state.direction >= CURVATURE * state.slope
        accepted = first | (~trial.too_long & (long_enough | noisy | (state.trials >= EXTENSIONS_MAX)))
        given_up = ~accepted & (state.trials + 1 >= TRIALS_MAX)
        return jax.lax.switch(
            jnp.where(accepted, 0, jnp.where(given_up, 1, 2)),
            [self._accept, self._restart, self._refine],
            state._replace(iteration=state.iteration + 1),
            trial,
        )

    def _accept(self, state: LbfgsState, trial: _Trial) -> LbfgsState:
        """Move to the trial point and start a search along a new quasi-Newton direction."""
        memory = _without_bad_pair(state.memory, trial)
        preconditioned, memory = self._directions.update(trial.gradient, memory, trial.point)
        direction = -jnp.asarray(preconditioned)
        downhill = direction @ trial.gradient < 0
        last = Progress.at(trial.point, trial.energy, trial.variance, gradient=trial.gradient)
        return _search(
            state._replace(
                memory=memory,
                parameters=trial.point,
                energy=trial.energy,
                variance=trial.variance,
                gradient=trial.gradient,
                steepest=jnp.zeros((), jnp.bool_),
                last=last,
            ),
            jnp.where(downhill, direction, -trial.gradient),
        )

    def _restart(self, state: LbfgsState, trial: _Trial) -> LbfgsState:
        """Forget the curvature and search along the bare gradient; stalled where that failed already."""
        last = state.last._replace(moved=jnp.zeros((), jnp.bool_), stalled=state.steepest)
        memory = self._directions.init(state.parameters)
        # The capped gradient is what Optax would begin with: a first step of at most one radian.
        norm = jnp.linalg.norm(state.gradient)
        fresh = state._replace(memory=memory, steepest=jnp.ones((), jnp.bool_), last=last)
        return _search(fresh, -state.gradient / jnp.maximum(1.0, norm))

    def _refine(self, state: LbfgsState, trial: _Trial) -> LbfgsState:
        """Narrow the bracket and try another step along the same direction."""
        lower = jnp.where(trial.too_long, state.lower, state.step)
        upper = jnp.where(trial.too_long, state.step, state.upper)
        middle = jnp.where(jnp.isinf(upper), 2 * lower, (lower + upper) / 2)
        step = jnp.where(trial.too_long & (lower == 0), _interpolated(state, trial), middle)
        last = state.last._replace(moved=jnp.zeros((), jnp.bool_))
        return state._replace(step=step, lower=lower, upper=upper, trials=state.trials + 1, last=last)


def _judge(state: LbfgsState, point: jax.Array, evaluation: Evaluation) -> _Trial:
    """The trial, tested for sufficient decrease; a value that is not finite fails."""
    energy = jnp.asarray(evaluation.values[0], jnp.float64)
    variance = jnp.asarray(evaluation.variances[0], jnp.float64)
    gradient = gradient_at_first(evaluation)
    noise = NOISE_STANDARD_ERRORS * jnp.sqrt(state.variance + variance)
    rounding = ROUNDING * jnp.maximum(1.0, jnp.abs(state.energy))
    enough = energy <= state.energy + ARMIJO * state.step * state.slope + noise + rounding
    finite = jnp.isfinite(energy) & jnp.all(jnp.isfinite(gradient))
    return _Trial(point, energy, variance, gradient, ~(enough & finite))


def _without_bad_pair(memory: optax.OptState, trial: _Trial) -> optax.OptState:
    """The memory made to record a zero pair, which has no effect, where the new one curves downwards.

    The line search excludes such pairs where it can; noise, and steps taken for want of a better, do not.
    """
    assert isinstance(memory, optax.ScaleByLBFGSState)
    s = trial.point - jnp.asarray(memory.params)
    y = trial.gradient - jnp.asarray(memory.updates)
    bad = s @ y <= 1e-10 * jnp.linalg.norm(s) * jnp.linalg.norm(y)
    return memory._replace(
        params=jnp.where(bad, trial.point, jnp.asarray(memory.params)),
        updates=jnp.where(bad, trial.gradient, jnp.asarray(memory.updates)),
    )


def _search(state: LbfgsState, direction: jax.Array) -> LbfgsState:
    """The state at the start of a search along a direction."""
    longest = jnp.max(jnp.abs(direction), initial=0.0)
    return state._replace(
        direction=direction,
        slope=direction @ state.gradient,
        step=STEP_MAX_RAD / jnp.maximum(longest, STEP_MAX_RAD),
        lower=jnp.zeros((), jnp.float64),
        upper=jnp.full((), jnp.inf, jnp.float64),
        trials=count(),
    )


def _interpolated(state: LbfgsState, trial: _Trial) -> jax.Array:
    """Minimum of the parabola through phi(0), phi'(0), phi(t), kept within [t/10, t/2]."""
    t, slope = state.step, state.slope
    best = -slope * t**2 / (2 * (trial.energy - state.energy - slope * t))
    known = jnp.isfinite(trial.energy) & jnp.isfinite(best)
    return jnp.where(known, jnp.clip(best, 0.1 * t, 0.5 * t), 0.5 * t)
