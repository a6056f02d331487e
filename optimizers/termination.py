"""When a run ends, and what its user should do about it."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

from optimizers.protocol import ROUNDING, Progress, count

PATIENCE_MAX = 200
"""Bound on `Termination.patience`, and with it on the size of the state."""


class Reason(enum.StrEnum):
    """Why a run ended. The last three are for the loop around the optimizer to give."""

    CONVERGED = "converged"
    PLATEAU = "plateau"
    ITERATION_LIMIT = "iteration_limit"
    DIVERGED = "diverged"
    BUDGET_REACHED = "budget_reached"
    INTERRUPTED = "interrupted"
    OPERATORS_LIMIT = "operators_limit"

    @property
    def advice(self) -> str:
        """One sentence on what to do next."""
        return _ADVICE[self]


_ADVICE = {
    Reason.CONVERGED: "Nothing is left to do; lower optimizer.tolerance if you need more digits.",
    Reason.PLATEAU: "The energy no longer falls by more than its error. To go lower, give more shots or ask "
    "for a smaller error, lower the learning rate if there is one, or restart elsewhere with another seed.",
    Reason.ITERATION_LIMIT: "Raise optimizer.max_iterations: the energy was still changing.",
    Reason.DIVERGED: "Lower optimizer.learning_rate or choose another optimizer: "
    "the energy or a parameter is no longer finite.",
    Reason.BUDGET_REACHED: "Give a new run more of what ran out, or spend fewer shots per evaluation.",
    Reason.INTERRUPTED: "Resume the run: it continues from its last committed iteration.",
    Reason.OPERATORS_LIMIT: "Raise ansatz.operators_max: an operator that lowers the energy was left.",
}

REASONS: tuple[Reason | None, ...] = (None, *Reason)
"""The reason of each code; code 0 goes on."""


class TerminationState(NamedTuple):
    """State of `Termination`, W being its patience.

    Attributes:
        iteration: () int64, tells seen.
        fresh: () int64, tells that moved.
        quiet: () int64, consecutive fresh tells that changed the energy by no more than the tolerance.
        energy: () the last fresh energy; infinite at the start.
        energies, variances: (2W,) ring of samples, one per sweep.
        code: () int64, index into `REASONS`.
    """

    iteration: jax.Array
    fresh: jax.Array
    quiet: jax.Array
    energy: jax.Array
    energies: jax.Array
    variances: jax.Array
    code: jax.Array


@dataclass(frozen=True)
class Termination:
    """The rule that ends a run, updated once per `tell`. In order of precedence:

    * DIVERGED: the energy, its variance or a parameter is not finite.
    * CONVERGED: without noise, the energy changed by at most `tolerance` in `quiet_sweeps` whole sweeps; or
      the optimizer stalled where |gradient|^2/2, the gain left for unit curvature, is below `tolerance`.
    * PLATEAU: the mean energy of the last W sweeps is not lower than that of the W before by more than
      `tolerance` or one standard error of the difference, whichever is larger; or the optimizer stalled
      elsewhere. Under noise this is a test repeated every sweep: gains of less than about a standard error
      per W sweeps are taken for none.
    * ITERATION_LIMIT: `max_iterations` tells.

    Tells that did not move count towards the limit only.

    Attributes:
        max_iterations: tells, at least 1.
        tolerance: in the problem's energy unit; below the rounding error of an energy it is that error.
        sweep: tells that make one pass over the parameters (`Optimizer.sweep`).
        patience: W, in sweeps, 1 to `PATIENCE_MAX`.
        quiet_sweeps: sweeps without change that count as convergence, at least 1.
    """

    max_iterations: int
    tolerance: float
    sweep: int = 1
    patience: int = 25
    quiet_sweeps: int = 5

    def __post_init__(self) -> None:
        if min(self.max_iterations, self.sweep, self.quiet_sweeps) < 1:
            raise ValueError("max_iterations, sweep and quiet_sweeps must be at least 1")
        if not 1 <= self.patience <= PATIENCE_MAX:
            raise ValueError(f"patience must be 1 to {PATIENCE_MAX}, got {self.patience}")
        if not self.tolerance >= 0:
            raise ValueError(f"tolerance must not be negative, got {self.tolerance}")

    def init(self) -> TerminationState:
        ring = jnp.zeros((2 * self.patience,), jnp.float64)
        infinity = jnp.full((), jnp.inf, jnp.float64)
        return TerminationState(count(), count(), count(), infinity, ring, ring, count())

    def update(self, state: TerminationState, progress: Progress) -> TerminationState:
        """The state after one more `tell`, with its verdict."""
        state = self._record(state, progress)
        rules = (
            (Reason.DIVERGED, _diverged(progress)),
            (Reason.CONVERGED, self._converged(state, progress)),
            (Reason.PLATEAU, self._plateau(state, progress)),
            (Reason.ITERATION_LIMIT, state.iteration >= self.max_iterations),
        )
        verdict = count()
        for reason, holds in reversed(rules):
            verdict = jnp.where(holds, count(REASONS.index(reason)), verdict)
        return state._replace(code=verdict)

    def code(self, state: TerminationState) -> jax.Array:
        """() int64: 0 to go on, otherwise the index of the reason in `REASONS`."""
        return state.code

    def reason(self, state: TerminationState) -> Reason | None:
        """The reason of a concrete (not traced) state; None to go on."""
        return REASONS[int(state.code)]

    def _record(self, state: TerminationState, progress: Progress) -> TerminationState:
        moved = progress.moved
        fresh = state.fresh + moved
        change = jnp.abs(progress.energy - state.energy)
        unchanged = (change <= self._resolution(progress)) & (progress.variance == 0)
        sampled = moved & (fresh % self.sweep == 0)
        slot = (fresh // self.sweep - 1) % (2 * self.patience)
        return TerminationState(
            iteration=state.iteration + 1,
            fresh=fresh,
            quiet=jnp.where(moved, jnp.where(unchanged, state.quiet + 1, 0), state.quiet),
            energy=jnp.where(moved, progress.energy, state.energy),
            energies=jnp.where(sampled, state.energies.at[slot].set(progress.energy), state.energies),
            variances=jnp.where(sampled, state.variances.at[slot].set(progress.variance), state.variances),
            code=state.code,
        )

    def _converged(self, state: TerminationState, progress: Progress) -> jax.Array:
        settled = progress.moved & (state.quiet >= self.quiet_sweeps * self.sweep)
        level = progress.stalled & (progress.gradient_norm**2 / 2 <= self._resolution(progress))
        return (progress.variance == 0) & (settled | level)

    def _plateau(self, state: TerminationState, progress: Progress) -> jax.Array:
        samples = state.fresh // self.sweep
        age = (samples - 1 - jnp.arange(2 * self.patience)) % (2 * self.patience)
        newer = age < self.patience
        gain = (jnp.sum(state.energies) - 2 * jnp.sum(state.energies, where=newer)) / self.patience
        standard_error = jnp.sqrt(jnp.sum(state.variances)) / self.patience
        full = progress.moved & (samples >= 2 * self.patience)
        return progress.stalled | (full & (gain <= jnp.maximum(self._resolution(progress), standard_error)))

    def _resolution(self, progress: Progress) -> jax.Array:
        """The tolerance, but not less than the rounding error of an energy."""
        return jnp.maximum(self.tolerance, ROUNDING * jnp.maximum(1.0, jnp.abs(progress.energy)))


def _diverged(progress: Progress) -> jax.Array:
    finite = jnp.isfinite(progress.energy) & jnp.isfinite(progress.variance)
    return ~(finite & jnp.all(jnp.isfinite(progress.parameters)))
