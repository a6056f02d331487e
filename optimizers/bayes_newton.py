"""Newton's method on a Gaussian posterior of the gradient field, with shots chosen for what they can pay.

The default under adaptive shots. Every iteration measures derivatives along the parameters at one centre, by
the general shift rule (arXiv:2107.12390), or by two points each where the centre is a determinant; there,
slopes that are known to vanish are not measured. Nothing that was paid for is forgotten: all earlier
gradients, at other centres, enter a linear model of the field around the new centre (Gaussian regression on
g(c) = g_0 + H (c - c_0), measured curvatures as its prior mean, noise grown by a remainder of second order in
the distance). Its rules:

* Newton's step is taken to the model's minimum, and each parameter's way from the start is shrunk by
  max(0, 1 - lambda / z^2), z being that way in its standard errors: positive-part James-Stein estimation
  (James & Stein 1961), so that parameters which noise alone would move stay where they started.
* An iteration may spend `growth` times what was spent before, never less than a third of its fees' worth of
  shots: few shots far from the optimum, more near it, and at most about `growth` too many when it ends. The
  first one comes within the resolution with even odds, or with better ones as far as they are worth the
  fees of a second.
* A parameter's share of them goes with the root of (variance of its derivative / curvature), which minimises
  the energy lost to noise, sum_j var_j / (2 h_j), and is less where it has not stood out from noise yet.
* It ends where the energy that noise and distance cost at the next centre is, with 95 % probability, below
  the `resolution`.
* How strongly parameters are coupled, which the loss at a new centre hangs on, is learned from the gradients
  themselves: of a few spreads of the field's Hessian the most likely one is taken (empirical Bayes, type II
  maximum likelihood), the widest until they say otherwise.

Limits: a parameter that matters less than noise can show stays at its start; the model is local, so a start
in another basin stays there; the regression takes O(d memory^3) per iteration.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, NamedTuple, final

import jax
import jax.numpy as jnp
import numpy as np

from optimizers.line_fit import Frequencies
from optimizers.options import Option
from optimizers.protocol import Evaluation, Need, Optimizer, Progress, count, start_point

EXACT_DEGREE_MAX = 3
"""Up to this degree a derivative takes 2 R energies and is exact; beyond, two and a central difference."""

OPTIONS = {
    "growth": Option(0.3, maximum=10.0, open_minimum=True),
    "shrinkage": Option(1.5, maximum=10.0),
    "memory": Option(32, minimum=2, maximum=256),
    "difference": Option(0.15, maximum=1.0, open_minimum=True),
    "step_max": Option(0.5, open_minimum=True),
}

# Those down to _REMAINDER multiply s, the energy's single-shot standard deviation at the first centre.
_SLOPE = 0.5
"""Prior standard deviation of a slope."""
_CURVATURE, _CURVATURE_SPREAD = 0.5, 0.3
"""Prior mean and standard deviation of a curvature."""
_CURVATURE_MIN = 0.08
"""Least curvature, and least eigenvalue of the Hessian that a step divides by."""
_COUPLING = 0.15
"""Prior standard deviation of the Hessian's entries off the diagonal."""
_CURVATURE_ERROR = 0.2
"""Standard deviation of a curvature around its measured mean, between two centres."""
_REMAINDER = 0.15
"""A gradient measured at a distance r has a standard deviation of `_REMAINDER` s r^2 added to its own."""
_SHARES = tuple(0.5**k for k in range(5))
"""These three may all be smaller by one of these factors ..."""
_HALVING_NATS = 1.0
"""... where the gradients so far are more likely then by this log likelihood ratio for every halving."""
_FADING = 0.9
"""What an iteration keeps of the weights of earlier second derivatives; the prior makes up for the rest."""
_PRIOR_SHOTS = 1000.0
"""What is thought of the single-shot variance before any shot counts like so many of the first ones."""
_NOT_USED = 1e12
"""Variance of a ring's unused rows."""
_SHARE_OF_FEES = 1 / 3
"""An iteration's shots are at least this times its fees in shots: with less it is too often not the last."""
_FEES_FIRST = 1.6
"""The first iteration's shots are at least this times a second one's fees, up to what is expected to do."""
_SHARES_OF_ALONE = tuple(0.05 * k for k in range(1, 101))
"""Of the shots with which the first step is expected to end within the resolution, these are compared."""
_CENTRE_FIRST = 0.25
"""The first centre tells curvatures alone, which need fewer shots than slopes: of a slope's, this share."""
_DEVIATIONS = 1.645
"""Of a weighted sum of chi squares, which the loss is: from its mean to about its 95 % quantile."""
_SETTLED_SHARE = 0.5
"""A parameter's loss counts `_SETTLED_SHARE` + (1 - `_SETTLED_SHARE`) min(z^2 / 4, 1) times; z as above."""


class _Weights(NamedTuple):
    """With what weights energies add up to derivatives.

    Attributes:
        slope: (P - 1,) of the shifted points, in their parameter's first derivative.
        curvature: (P - 1,) of the shifted points, in their parameter's second derivative.
        centre: (d,) of the centre, in every parameter's second derivative.
    """

    slope: np.ndarray
    curvature: np.ndarray
    centre: np.ndarray


class _Design(NamedTuple):
    """Static tables of the P - 1 shifted points: whose derivative they serve, where, and how.

    In the first iteration other weights hold than later, and points without any are not measured.
    """

    coordinate: np.ndarray
    shift: np.ndarray
    first: _Weights
    later: _Weights


class BayesNewtonState(NamedTuple):
    """State of `BayesNewton`; K is its memory, P its points.

    Attributes:
        iteration: () int64.
        start: (d,) where shrinkage leads back to.
        parameters: (d,) the next centre.
        centres, gradients, variances: (K, d) rings of what was measured; unused rows have huge variances.
        curvatures, curvature_weights: (d,) weighted sums and weights of the measured second derivatives.
        point_variances: (P,) single-shot variances at the points of the design.
        scale: () the energy's single-shot standard deviation at the first centre.
        shots: (P,) for the next points.
        spent: () shots so far.
        last: progress at the next centre, as the model predicts it.
    """

    iteration: jax.Array
    start: jax.Array
    parameters: jax.Array
    centres: jax.Array
    gradients: jax.Array
    variances: jax.Array
    curvatures: jax.Array
    curvature_weights: jax.Array
    point_variances: jax.Array
    scale: jax.Array
    shots: jax.Array
    spent: jax.Array
    last: Progress


class _GradientPosterior(NamedTuple):
    """The posterior of the gradient field around a centre: mean (d,), variance (d,) and Hessian (d, d)."""

    gradient: jax.Array
    variance: jax.Array
    hessian: jax.Array


@final
@dataclass(frozen=True)
class BayesNewton(Optimizer[BayesNewtonState]):
    """See the module.

    Attributes:
        spectrum: the frequencies of the energy along each of the d parameters.
        from_determinant: whether the first centre is a determinant, and each parameter one excitation of it:
            then the energy along it has the frequency 1 alone, and two points tell all.
        flat: parameters, not all, along which that determinant's energy has no slope, as single excitations
            of a closed shell (Brillouin's theorem): the first iteration measures nothing along them.
        shots_first: shots of a derivative in the first iteration, and the least in any.
        shots_overhead: an iteration's fees, as the number of shots that the same money buys.
        shots_overhead_first: the same of the first iteration, which measures at fewer points.
        shots_first_max: the first iteration has no more shots than that, or the least that serve.
        resolution: the energy that matters, such as the standard error asked for.
        variance: what is thought of the energy's single-shot variance at the first shifted points.
        growth, shrinkage, memory, difference, step_max: see the module; radians for the last two.
    """

    spectrum: tuple[Frequencies, ...]
    shots_first: float
    from_determinant: bool = False
    flat: tuple[int, ...] = ()
    shots_overhead: float = 0.0
    shots_overhead_first: float = 0.0
    shots_first_max: float = math.inf
    resolution: float = 0.0
    variance: float = 0.0
    growth: float = 0.3
    shrinkage: float = 1.5
    memory: int = 32
    difference: float = 0.15
    step_max: float = 0.5

    need: ClassVar[Need] = Need.VALUE

    @property
    def points_per_ask(self) -> int:
        return 1 + len(self._design.coordinate)

    @property
    def points_first(self) -> int:
        """Of them, those that the first iteration measures."""
        return 1 + int(np.count_nonzero(self._design.first.slope))

    @property
    def sweep(self) -> int:
        return 1

    @cached_property
    def _design(self) -> _Design:
        later = [_line(f, self.difference) for f in self.spectrum]
        first = later
        if self.from_determinant:
            first = [
                _not_measured(line) if j in self.flat else _of_determinant(line)
                for j, line in enumerate(later)
            ]
        coordinate = np.repeat(np.arange(len(later)), [len(line.shift) for line in later])
        shift = np.concatenate([line.shift for line in later])
        return _Design(coordinate, shift, _concatenated(first), _concatenated(later))

    def init(self, x0: jax.Array, key: jax.Array) -> BayesNewtonState:
        x0 = start_point(x0)
        d, k, points = x0.shape[0], self.memory, self.points_per_ask
        ring = jnp.zeros((k, d))
        return BayesNewtonState(
            iteration=count(),
            start=x0,
            parameters=x0,
            centres=ring,
            gradients=ring,
            variances=jnp.full((k, d), _NOT_USED),
            curvatures=jnp.zeros(d),
            curvature_weights=jnp.zeros(d),
            point_variances=jnp.zeros(points),
            scale=jnp.zeros(()),
            shots=self._first_shots(d),
            spent=jnp.zeros(()),
            last=Progress.start(x0),
        )

    def ask(self, state: BayesNewtonState) -> jax.Array:
        """The centre, then every parameter's shifted points."""
        design = self._design
        points = jnp.broadcast_to(state.parameters, (self.points_per_ask, state.parameters.shape[0]))
        rows = 1 + jnp.arange(len(design.coordinate))
        return points.at[rows, jnp.asarray(design.coordinate)].add(jnp.asarray(design.shift))

    def shots(self, state: BayesNewtonState) -> jax.Array:
        return state.shots

    def tell(self, state: BayesNewtonState, evaluation: Evaluation) -> BayesNewtonState:
        state = self._remember(state, evaluation)
        share = self._spread_share(state)
        posterior, _ = self._regression(state, share)
        step, z2, inverse = self._step(state, posterior)
        gain = posterior.gradient @ step + 0.5 * step @ posterior.hessian @ step
        moved = state.parameters + step
        last = Progress.at(
            moved,
            evaluation.values[0] + gain,
            evaluation.variances[0] + posterior.variance @ step**2,
            gradient=posterior.gradient,
            stalled=self._loss(state._replace(parameters=moved), share) < self.resolution,
        )
        return state._replace(
            iteration=state.iteration + 1,
            parameters=moved,
            shots=self._next_shots(state, z2, inverse),
            last=last,
        )

    def _remember(self, state: BayesNewtonState, evaluation: Evaluation) -> BayesNewtonState:
        """Enter the first and second derivatives that the points tell at this centre."""
        design = self._design
        d = state.parameters.shape[0]
        coordinate = jnp.asarray(design.coordinate)
        shots = state.shots if evaluation.shots is None else evaluation.shots
        values = evaluation.values
        seen = evaluation.variances * shots
        first = state.iteration == 0
        slope, curvature, centre = jax.tree.map(
            lambda a, b: jnp.where(first, a, b), design.first, design.later
        )
        run = shots > 0
        usual = jnp.sum(seen) / jnp.sum(run)
        if self.variance:
            trust = jnp.sum(shots) / (jnp.sum(shots) + _PRIOR_SHOTS)
            usual = trust * usual + (1.0 - trust) * self.variance
        before = jnp.where(first, usual, state.point_variances)
        point_variances = jnp.where(run, (before + seen) / 2, before)
        scale = jnp.where(first, jnp.sqrt(usual), state.scale)
        scale = jnp.maximum(scale, 1e-12)
        variances = point_variances / jnp.maximum(shots, 1.0)

        def gather(rows: jax.Array) -> jax.Array:
            return jax.ops.segment_sum(rows, coordinate, d)

        curvatures = centre * values[0] + gather(curvature * values[1:])
        curvature_variances = centre**2 * variances[0] + gather(curvature**2 * variances[1:])
        prior = (_CURVATURE_SPREAD * scale) ** -2
        faded = jnp.where(first, 1.0, 1.0 - _FADING) * prior
        kept = jnp.where(first, 0.0, _FADING)
        weight = (centre != 0.0) / (curvature_variances + (0.1 * scale) ** 2)
        slot = state.iteration % self.memory
        return state._replace(
            centres=state.centres.at[slot].set(state.parameters),
            gradients=state.gradients.at[slot].set(gather(slope * values[1:])),
            variances=state.variances.at[slot].set(gather(slope**2 * variances[1:])),
            curvatures=kept * state.curvatures + faded * _CURVATURE * scale + weight * curvatures,
            curvature_weights=kept * state.curvature_weights + faded + weight,
            point_variances=point_variances,
            scale=scale,
            spent=state.spent + jnp.sum(shots),
        )

    def _spread_share(self, state: BayesNewtonState) -> jax.Array:
        """Of `_SHARES`, the one under which the gradients so far are most likely, ()."""
        likelihoods = jax.lax.map(lambda share: self._regression(state, share)[1], jnp.asarray(_SHARES))
        return jnp.asarray(_SHARES)[jnp.argmax(likelihoods - _HALVING_NATS * jnp.arange(len(_SHARES)))]

    def _regression(self, state: BayesNewtonState, share: jax.Array) -> tuple[_GradientPosterior, jax.Array]:
        """Gaussian regression of every component of the gradient on the way from `state.parameters`.

        Returns:
            The posterior, and the log likelihood of the gradients up to a constant, ().
        """
        coupling, curvature_error = share * _COUPLING * state.scale, share * _CURVATURE_ERROR * state.scale
        away = state.centres - state.parameters
        inner = away @ away.T
        remainder = (share * _REMAINDER * state.scale * jnp.diagonal(inner)) ** 2
        curvature = jnp.maximum(state.curvatures / state.curvature_weights, _CURVATURE_MIN * state.scale)
        slope_prior = (_SLOPE * state.scale) ** 2

        def component(gradients, variances, along, curvature, row):
            own = jnp.outer(along, along)
            covariance = coupling**2 * (inner - own) + curvature_error**2 * own
            noise = variances + remainder + 1e-12 * slope_prior
            factor = jnp.linalg.cholesky(slope_prior + covariance + jnp.diag(noise))
            bent = gradients - curvature * along
            right = jnp.stack([bent, jnp.full_like(along, slope_prior)], axis=1)
            solved = jax.scipy.linalg.cho_solve((factor, True), right)
            couplings = coupling**2 * (away.T @ solved[:, 0])
            mean = slope_prior * jnp.sum(solved[:, 0])
            variance = slope_prior - slope_prior * jnp.sum(solved[:, 1])
            likelihood = -0.5 * bent @ solved[:, 0] - jnp.sum(jnp.log(jnp.diagonal(factor)))
            return mean, variance, jnp.where(row, curvature, couplings), likelihood

        columns = jax.vmap(component, in_axes=(1, 1, 1, 0, 0))
        rows = jnp.eye(state.parameters.shape[0], dtype=bool)
        mean, variance, hessian, likelihood = columns(state.gradients, state.variances, away, curvature, rows)
        posterior = _GradientPosterior(mean, jnp.maximum(variance, 0.0), (hessian + hessian.T) / 2)
        return posterior, jnp.sum(likelihood)

    def _step(
        self, state: BayesNewtonState, posterior: _GradientPosterior
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """(step, z^2 of each parameter's way from the start, inverse Hessian)."""
        values, vectors = jnp.linalg.eigh(posterior.hessian)
        inverse = (vectors / jnp.maximum(values, _CURVATURE_MIN * state.scale)) @ vectors.T
        way = state.parameters - inverse @ posterior.gradient - state.start
        z2 = way**2 / jnp.maximum(inverse**2 @ posterior.variance, 1e-300)
        kept = jnp.maximum(0.0, 1.0 - self.shrinkage / jnp.maximum(z2, 1e-12))
        step = state.start + kept * way - state.parameters
        return jnp.clip(step, -self.step_max, self.step_max), z2, inverse

    def _loss(self, state: BayesNewtonState, share: jax.Array) -> jax.Array:
        """Energy above the minimum that noise and distance leave here with a probability of 5 %, ()."""
        posterior, _ = self._regression(state, share)
        _, z2, inverse = self._step(state, posterior)
        each = 0.5 * posterior.variance * jnp.diagonal(inverse) * _loss_weight(z2)
        return jnp.sum(each) + _DEVIATIONS * jnp.sqrt(2.0 * jnp.sum(each**2))

    def _next_shots(self, state: BayesNewtonState, z2: jax.Array, inverse: jax.Array) -> jax.Array:
        size = jnp.abs(jnp.asarray(self._design.later.slope))
        coordinate, d = jnp.asarray(self._design.coordinate), state.parameters.shape[0]
        total = jax.ops.segment_sum(size, coordinate, d)
        variance = total * jax.ops.segment_sum(size * state.point_variances[1:], coordinate, d)
        value = jnp.sqrt(variance * jnp.diagonal(inverse) * _loss_weight(z2))
        afford = jnp.maximum(self.growth * state.spent, _least(self.shots_overhead, self.shots_first * d))
        share = afford * value / jnp.maximum(jnp.sum(value), 1e-300)
        return self._point_shots(jnp.maximum(share, self.shots_first), self._design.later)

    def _first_shots(self, d: int) -> jax.Array:
        """(P,) shots of the first iteration.

        Those that cost least together with the second, times the odds that it is needed; odds are even at
        worst, and small fees count as more, because what fails takes more than one iteration to mend.
        """
        measured = d - len(self.flat)
        alone = self._alone(measured)
        second = (1.0 + _SHARE_OF_FEES) * self.shots_overhead
        shares = [share for share in _SHARES_OF_ALONE if _above(share, measured) <= 0.5]
        share = min(shares, key=lambda share: share * alone + _above(share, measured) * second)
        least = _least(self.shots_overhead_first, self.shots_first * measured)
        wished = max(share * alone, min(alone, _FEES_FIRST * self.shots_overhead))
        total = max(least, min(wished, self.shots_first_max))
        shots = self._point_shots(jnp.full(d, total / measured), self._design.first)
        return shots.at[0].mul(_CENTRE_FIRST)

    def _alone(self, measured: int) -> float:
        """Shots with which the first step is expected to end within the resolution; 0 where none matters.

        Noise in m derivatives, each with an m-th of n shots, costs m^2 V / (2 h n) of energy, with curvatures
        h of half a standard deviation (`_CURVATURE`). Never more than an energy at that error takes.
        """
        if not self.resolution:
            return 0.0
        deviation = self.variance**0.5
        return min(measured**2 * deviation / self.resolution, self.variance / self.resolution**2)

    def _point_shots(self, derivative: jax.Array, weights: _Weights) -> jax.Array:
        """(P,) shots of the points from those of the derivatives (d,), by the size of their weights."""
        size = jnp.abs(jnp.asarray(weights.slope))
        coordinate = jnp.asarray(self._design.coordinate)
        total = jax.ops.segment_sum(size, coordinate, derivative.shape[0])
        shifted = derivative[coordinate] * size / jnp.maximum(total[coordinate], 1e-300)
        return jnp.concatenate([jnp.mean(derivative)[None], shifted])


def _above(share: float, measured: int) -> float:
    """Odds that the first step ends above the resolution, with this share of the shots expected to do.

    The loss is a mean of as many squared normal deviates as derivatives are measured; its cube root is about
    normal (Wilson & Hilferty 1931).
    """
    spread = 2.0 / (9.0 * measured)
    return 0.5 * math.erfc((share ** (1.0 / 3.0) - (1.0 - spread)) / math.sqrt(2.0 * spread))


def _least(overhead: float, shots: float) -> float:
    """Shots of an iteration, at least, so that its fees are worth paying."""
    return max(_SHARE_OF_FEES * overhead, shots)


def _loss_weight(z2: jax.Array) -> jax.Array:
    """From `_SETTLED_SHARE` for a parameter lost in noise to 1 for one at two standard errors."""
    return _SETTLED_SHARE + (1.0 - _SETTLED_SHARE) * jnp.clip(z2 / 4.0, 0.0, 1.0)


class _Line(NamedTuple):
    """One parameter's shifted points and the weights of their energies; see `_Weights`."""

    shift: np.ndarray
    slope: np.ndarray
    curvature: np.ndarray
    centre: float


def _line(frequencies: Frequencies, difference: float) -> _Line:
    """The points along one parameter.

    For degree R the shifts are +-(2 m - 1) pi / (2 R) over the base frequency, m = 1..R, and the slope's
    weights those of arXiv:2107.12390, eq. 13; the curvature's solve for the cosine coefficients.
    """
    degree, base = frequencies.degree, frequencies.base
    if degree == 0:
        empty = np.zeros(0)
        return _Line(empty, empty, empty, 0.0)
    if degree > EXACT_DEGREE_MAX:
        shifts = np.array([difference, -difference])
        slopes = np.array([0.5, -0.5]) / difference
        return _Line(shifts, slopes, np.full(2, difference**-2), -2.0 * difference**-2)
    m = np.arange(1, degree + 1)
    phase = (2 * m - 1) * np.pi / (2 * degree)
    slope = (-1.0) ** (m - 1) / (4 * degree * np.sin(phase / 2) ** 2)
    k = np.arange(degree + 1)
    rows = np.vstack([np.ones(degree + 1), 2 * np.cos(np.outer(phase, k))])
    curvature = np.linalg.solve(rows.T, -(k.astype(float) ** 2))
    return _Line(
        np.concatenate([phase, -phase]) / base,
        base * np.concatenate([slope, -slope]),
        base**2 * np.tile(curvature[1:], 2),
        float(base**2 * curvature[0]),
    )


def _not_measured(line: _Line) -> _Line:
    """The same points without any weight: a slope of 0 that is certain, and no curvature."""
    return _Line(line.shift, np.zeros_like(line.slope), np.zeros_like(line.curvature), 0.0)


def _of_determinant(line: _Line) -> _Line:
    """The weights of an excitation's points where it acts on a determinant.

    It turns that one into another with the weights cos(x / 2) and sin(x / 2), and nothing is left alone: the
    energy is a + b cos x + c sin x, which the points at +-pi/2 and the centre fix.
    """
    inner = np.isclose(np.abs(line.shift), np.pi / 2)
    assert np.count_nonzero(inner) == 2, "an excitation has points at +-pi/2"
    return _Line(line.shift, np.where(inner, np.sign(line.shift) / 2, 0.0), np.where(inner, 0.5, 0.0), -1.0)


def _concatenated(lines: list[_Line]) -> _Weights:
    slope, curvature = (np.concatenate([part[at] for part in lines]) for at in (1, 2))
    return _Weights(slope, curvature, np.array([line.centre for line in lines]))
