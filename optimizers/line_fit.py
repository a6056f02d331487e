"""Exact line fits: along one parameter the energy is a short Fourier series, so its minimum can be computed.

Where parameter l enters through rotations whose energy differences are integer multiples of `base`,

    E(theta_l + x) = a_0 + sum_{k=1..R_l} [a_k cos(k w_l x) + b_k sin(k w_l x)],        w_l = base,

and 2 R_l + 1 energies fix it. R = 1 is Rotosolve (arXiv:1905.09692); R = 2, for excitations whose
generator obeys G^3 = G, is ExcitationSolve (arXiv:2409.05939); any R follows from the
theory of general shift rules (arXiv:2107.12390). Unlike a gradient step, a fit finds the global minimum
along its line.

The minimum of one line is the current point of the next, where its energy is known: only 2 R are measured
(arXiv:1903.12166). What is known so carries its noise on, so the current point is measured anew now and then.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, final

import jax
import jax.numpy as jnp
import numpy as np

from optimizers.protocol import Evaluation, Need, Optimizer, Progress, count, start_point

DEGREE_MAX = 32
"""Highest degree that is fitted: beyond, a line costs more evaluations than a gradient is worth."""

_GRID_PER_DEGREE = 16
"""Grid points per period of the fastest harmonic: Newton's method then starts inside the right basin."""

_NEWTON_STEPS = 6
"""Doubling the digits each time, enough from 1/16 of a period to float64."""


@dataclass(frozen=True)
class Frequencies:
    """The frequencies with which the energy varies along one parameter: base, 2 base, ..., degree * base.

    Attributes:
        base: angular frequency per radian of the parameter, positive.
        degree: R, how many multiples occur; 0 where the energy does not depend on the parameter.
    """

    base: float
    degree: int

    def __post_init__(self) -> None:
        if not (math.isfinite(self.base) and self.base > 0):
            raise ValueError(f"base must be positive and finite, got {self.base}")
        if self.degree < 0:
            raise ValueError(f"degree must not be negative, got {self.degree}")


class LineFitState(NamedTuple):
    """State of `LineFit`: () int64 iteration, (d,) parameters, progress at those parameters.

    The progress holds the energy that the next fit starts from, and its variance.
    """

    iteration: jax.Array
    parameters: jax.Array
    last: Progress


@final
@dataclass(frozen=True)
class LineFit(Optimizer[LineFitState]):
    """One parameter an iteration, in turn: fit its Fourier series, jump to its global minimum.

    All parameters are sampled at 2 R points beside the current one, with R the largest degree; where a
    parameter's own degree is less, the fit is least squares and averages noise. At the start, and after every
    `lines_per_round` lines, all 2 R points are the current one instead. The energy reported is the fitted
    minimum; its variance is that of the fit at the minimum, exact to first order since the slope there is
    zero. Under noise a fitted minimum lies below the true energy by an amount of second order in the standard
    error, which adds up along a round.

    Attributes:
        spectrum: the frequencies of each of the d parameters.
    """

    spectrum: tuple[Frequencies, ...]

    need: ClassVar[Need] = Need.VALUE

    def __post_init__(self) -> None:
        if not self.spectrum:
            raise ValueError("spectrum must have one entry per parameter, at least one")

    @property
    def degree(self) -> int:
        """R, the largest degree of any parameter, at least 1."""
        return max(1, *(f.degree for f in self.spectrum))

    @property
    def points_per_ask(self) -> int:
        return 2 * self.degree

    @property
    def lines_per_round(self) -> int:
        """Lines between two measurements of the current point: a sweep, and more than their cost saved."""
        return max(len(self.spectrum), 4 * self.degree)

    @property
    def sweep(self) -> int:
        return len(self.spectrum)

    def init(self, x0: jax.Array, key: jax.Array) -> LineFitState:
        x0 = start_point(x0)
        if x0.shape[0] != len(self.spectrum):
            raise ValueError(f"{len(self.spectrum)} parameters have a spectrum, {x0.shape[0]} were given")
        return LineFitState(count(), x0, Progress.start(x0))

    def ask(self, state: LineFitState) -> jax.Array:
        """Points equidistant with the current one over a period of the next parameter, or just that one."""
        coordinate, base, _ = self._line(state.iteration)
        shifts = jnp.where(self._measures(state.iteration), 0.0, jnp.asarray(self._phases()[1:]) / base)
        points = jnp.broadcast_to(state.parameters, (self.points_per_ask, state.parameters.shape[0]))
        return points.at[:, coordinate].add(shifts)

    def tell(self, state: LineFitState, evaluation: Evaluation) -> LineFitState:
        measured, fitted = self._measured(state, evaluation), self._fitted(state, evaluation)
        measures = self._measures(state.iteration)
        last = jax.tree.map(lambda there, moved: jnp.where(measures, there, moved), measured, fitted)
        return LineFitState(state.iteration + 1, last.parameters, last)

    def _measured(self, state: LineFitState, evaluation: Evaluation) -> Progress:
        points = self.points_per_ask
        mean, variance = jnp.mean(evaluation.values), jnp.sum(evaluation.variances) / points**2
        return Progress.at(state.parameters, mean, variance, moved=False)

    def _fitted(self, state: LineFitState, evaluation: Evaluation) -> Progress:
        coordinate, base, degree = self._line(state.iteration)
        phases = jnp.asarray(self._phases())
        values = jnp.concatenate([state.last.energy[None], jnp.asarray(evaluation.values, jnp.float64)])
        variances = jnp.concatenate([state.last.variance[None], evaluation.variances])
        phase = series_minimum(fourier_fit(phases, values, degree, self.degree))
        # The response of the fit to each sample: the fit of a unit energy there, evaluated at the minimum.
        response = fit_response(phase - phases, degree, self.degree)
        parameters = state.parameters.at[coordinate].add(phase / base)
        return Progress.at(parameters, response @ values, response**2 @ variances)

    def _measures(self, iteration: jax.Array) -> jax.Array:
        """Whether this iteration measures the current point."""
        return iteration % (1 + self.lines_per_round) == 0

    def _line(self, iteration: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Index, base frequency and degree of the parameter that this iteration moves."""
        lines = iteration - iteration // (1 + self.lines_per_round) - 1
        coordinate = lines % len(self.spectrum)
        bases = jnp.asarray([f.base for f in self.spectrum], jnp.float64)
        degrees = jnp.asarray([f.degree for f in self.spectrum], jnp.int64)
        return coordinate, bases[coordinate], degrees[coordinate]

    def _phases(self) -> np.ndarray:
        """(2 R + 1,) sample phases w x, within (-pi, pi] and starting from 0."""
        samples = 2 * self.degree + 1
        phases = 2 * np.pi * np.arange(samples) / samples
        return np.where(phases > np.pi, phases - 2 * np.pi, phases)


class FourierSeries(NamedTuple):
    """a_0 + sum_k a_k cos(k phase) + b_k sin(k phase); `constant` (), `cosine` and `sine` (R,)."""

    constant: jax.Array
    cosine: jax.Array
    sine: jax.Array

    def at(self, phase: jax.Array) -> jax.Array:
        """Value at phases of any shape."""
        angles = phase[..., None] * jnp.arange(1, self.cosine.shape[0] + 1)
        return self.constant + jnp.cos(angles) @ self.cosine + jnp.sin(angles) @ self.sine

    def derivative(self) -> FourierSeries:
        """The series of the derivative by phase."""
        k = jnp.arange(1, self.cosine.shape[0] + 1)
        return FourierSeries(jnp.zeros_like(self.constant), k * self.sine, -k * self.cosine)


def fourier_fit(phases: jax.Array, values: jax.Array, degree: jax.Array, degree_max: int) -> FourierSeries:
    """Least-squares Fourier series through values at P >= 2 * degree_max + 1 equidistant phases.

    Args:
        phases, values: (P,).
        degree: () harmonics to fit; those up to `degree_max` above it are zero.
        degree_max: R, the static length of the series.
    """
    k = jnp.arange(1, degree_max + 1)
    weights = jnp.where(k <= degree, 2.0 / values.shape[0], 0.0)
    angles = k[:, None] * phases
    return FourierSeries(
        jnp.mean(values), weights * (jnp.cos(angles) @ values), weights * (jnp.sin(angles) @ values)
    )


def fit_response(phase_differences: jax.Array, degree: jax.Array, degree_max: int) -> jax.Array:
    """Derivative of the fit at a phase by each of its P samples: a Dirichlet kernel over P; shape (P,)."""
    k = jnp.arange(1, degree_max + 1)
    harmonics = jnp.cos(phase_differences[:, None] * k) @ jnp.where(k <= degree, 2.0, 0.0)
    return (1.0 + harmonics) / phase_differences.shape[0]


def series_minimum(series: FourierSeries) -> jax.Array:
    """Phase of the global minimum, in [-pi, pi); 0 where nothing is lower than phase 0 beyond rounding."""
    points = _GRID_PER_DEGREE * max(2, series.cosine.shape[0])
    spacing = 2 * np.pi / points
    grid = spacing * (jnp.arange(points) - points // 2)
    coarse = grid[jnp.argmin(series.at(grid))]
    slope = series.derivative()
    bend = slope.derivative()

    def newton(_: int, phase: jax.Array) -> jax.Array:
        curvature = bend.at(phase)
        step = jnp.where(curvature > 0, -slope.at(phase) / jnp.where(curvature > 0, curvature, 1.0), 0.0)
        return jnp.clip(phase + step, coarse - spacing, coarse + spacing)

    fine = jax.lax.fori_loop(0, _NEWTON_STEPS, newton, coarse)
    best = jnp.where(series.at(fine) <= series.at(coarse), fine, coarse)
    here = jnp.zeros_like(best)
    rounding = 1e-15 * (jnp.abs(series.constant) + jnp.sum(jnp.abs(series.cosine)))
    # A flat line must not be walked along: rounding errors would send the parameter anywhere.
    return jnp.where(series.at(best) < series.at(here) - rounding, best, here)
