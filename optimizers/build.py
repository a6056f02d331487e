"""From the user's `OptimizerSpec` to an optimizer and the rule that ends its run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

from optimizers import adaptive_descent, bayes_newton, gradient_descent, lbfgs, natural_gradient, spsa
from optimizers.adaptive_descent import AdaptiveDescent, Rule, adaptive_options
from optimizers.bayes_newton import BayesNewton
from optimizers.gradient_descent import GradientDescent, build_gradient_descent, optax_names
from optimizers.lbfgs import Lbfgs
from optimizers.learning_rate import build_learning_rate
from optimizers.line_fit import DEGREE_MAX, Frequencies, LineFit
from optimizers.natural_gradient import NaturalGradient
from optimizers.options import read_options
from optimizers.protocol import Optimizer
from optimizers.spsa import Spsa
from optimizers.termination import Termination
from shotwise.errors import SpecError
from shotwise.spec.run import SHOT_CHOOSERS, OptimizerSpec, ScheduleSpec

QUIET_SWEEPS_OF_LINE_FITS = 2
"""Whole sweeps of exact line minima that must change nothing; a sweep already looks along every axis."""


_ROUNDING = 1e-9
_RULES: dict[str, Rule] = {rule: rule for rule in get_args(Rule)}


@dataclass(frozen=True)
class Sampling:
    """What an optimizer that chooses its shots must know of their price and worth.

    Attributes:
        shots_min: of a derivative, so that every group gets some.
        shots_a_job, shots_a_point: fees of a job and of a point in it, as the number of shots that the same
            money buys.
        points_a_job: as many points may share one job; below 1 where one takes several.
        shots_first_max: of the first iteration, so that a budget has room for more.
        gradient_points: at which energies are measured for a gradient.
        resolution: the energy that matters, such as the standard error asked for.
        variance: of the energy in a single shot where the first points are, as far as it is known before any.
        from_determinant: whether the run starts at a determinant, each parameter being one excitation.
        flat: parameters along which that determinant's energy has no slope.
    """

    shots_min: int
    shots_a_job: float = 0.0
    shots_a_point: float = 0.0
    points_a_job: float = math.inf
    shots_first_max: float = math.inf
    gradient_points: int = 1
    resolution: float = 0.0
    variance: float = 0.0
    from_determinant: bool = False
    flat: tuple[int, ...] = ()

    def fees(self, points: int) -> float:
        """Fees of an iteration at so many points, in shots."""
        jobs = max(1, math.ceil(points / self.points_a_job - _ROUNDING))
        return jobs * self.shots_a_job + points * self.shots_a_point


def optimizer_names() -> tuple[str, ...]:
    """Every value that `optimizer.name` may have."""
    return tuple(sorted((*optax_names(), *SHOT_CHOOSERS, "lbfgs", "qng", "rotosolve", "spsa")))


def needs_spectrum(name: str) -> bool:
    """Whether an optimizer must know the frequencies of the energy along each parameter."""
    return name in ("rotosolve", "bayes_newton")


def needs_sampling(name: str) -> bool:
    """Whether an optimizer chooses its shots, which only sampled energies have."""
    return name in SHOT_CHOOSERS


def build_optimizer(
    spec: OptimizerSpec, spectrum: Sequence[Frequencies] | None, sampling: Sampling | None = None
) -> Optimizer[Any]:
    """The optimizer that a spec names.

    Args:
        spec: the section `optimizer` of a run's spec; `auto` is adam for whoever knows nothing better.
        spectrum: frequencies of the energy along each parameter, where `needs_spectrum`; None where they
            are not known or not commensurate.
        sampling: where `needs_sampling`; None where energies are exact.

    Raises:
        SpecError: an unknown name or option, a value that cannot be meant, a setting without effect, or
            rotosolve on a landscape that it cannot fit.
    """
    if spec.name == "auto":
        spec = spec.model_copy(update={"name": "adam"})
    if needs_sampling(spec.name):
        if sampling is None:
            raise SpecError(
                "optimizer.name", spec.name, "chooses shots, energies are exact", "use mode: shots or adam"
            )
        if spec.name == "bayes_newton":
            return _build_bayes_newton(spec, spectrum, sampling)
        return _build_adaptive_descent(spec, sampling)
    if spec.name == "lbfgs":
        return _build_lbfgs(spec)
    if spec.name == "rotosolve":
        return _build_line_fit(spec, spectrum)
    if spec.name == "spsa":
        return _build_spsa(spec)
    if spec.name == "qng":
        return _build_natural_gradient(spec)
    if spec.name not in optax_names():
        names = ", ".join(optimizer_names())
        raise SpecError("optimizer.name", spec.name, "unknown optimizer", f"use one of {names}")
    return _build_gradient_descent(spec)


def build_termination(spec: OptimizerSpec, optimizer: Optimizer[Any]) -> Termination:
    """The rule that ends a run of this optimizer."""
    rule = Termination(spec.max_iterations, spec.tolerance, optimizer.sweep)
    if isinstance(optimizer, LineFit):
        return Termination(
            rule.max_iterations, rule.tolerance, rule.sweep, quiet_sweeps=QUIET_SWEEPS_OF_LINE_FITS
        )
    return rule


def _build_bayes_newton(
    spec: OptimizerSpec, spectrum: Sequence[Frequencies] | None, sampling: Sampling
) -> BayesNewton:
    _refuse_learning_rate(spec, "its model finds the step")
    _refuse_schedule(spec)
    options: dict[str, Any] = read_options("bayes_newton", spec.options, bayes_newton.OPTIONS)
    if not spectrum:
        raise SpecError("optimizer.name", spec.name, "the ansatz has no parameters", "use another ansatz")
    free = BayesNewton(
        tuple(spectrum),
        shots_first=float(sampling.shots_min),
        from_determinant=sampling.from_determinant,
        flat=sampling.flat,
        shots_first_max=sampling.shots_first_max,
        resolution=sampling.resolution,
        variance=sampling.variance,
        **options,
    )
    overheads = sampling.fees(free.points_per_ask), sampling.fees(free.points_first)
    return replace(free, shots_overhead=overheads[0], shots_overhead_first=overheads[1])


def _build_adaptive_descent(spec: OptimizerSpec, sampling: Sampling) -> AdaptiveDescent:
    _refuse_schedule(spec)
    of_rule = adaptive_options(spec.options)
    read: dict[str, Any] = read_options(spec.name, of_rule, adaptive_descent.OPTIONS)
    lipschitz = read.get("lipschitz", adaptive_descent.OPTIONS["lipschitz"].default)
    rate = spec.learning_rate or 1.0 / lipschitz
    if rate >= 2.0 / lipschitz:
        raise SpecError(
            "optimizer.learning_rate", rate, f"not below 2 / lipschitz = {2 / lipschitz:g}", "lower it"
        )
    rest = {name: value for name, value in spec.options.items() if name not in of_rule}
    descent = build_gradient_descent("sgd", rate, rest)
    return AdaptiveDescent(
        descent,
        _RULES[spec.name],
        rate,
        shots_min=float(sampling.shots_min),
        shots_overhead=sampling.fees(sampling.gradient_points),
        **read,
    )


def _build_gradient_descent(spec: OptimizerSpec) -> GradientDescent:
    rate = spec.learning_rate or gradient_descent.default_learning_rate(spec.name)
    schedule = build_learning_rate(spec.schedule, rate, spec.max_iterations)
    return build_gradient_descent(spec.name, schedule, spec.options)


def _build_natural_gradient(spec: OptimizerSpec) -> NaturalGradient:
    options: dict[str, Any] = read_options("qng", spec.options, natural_gradient.OPTIONS)
    rate = spec.learning_rate or natural_gradient.DEFAULT_LEARNING_RATE
    return NaturalGradient(build_learning_rate(spec.schedule, rate, spec.max_iterations), **options)


def _build_lbfgs(spec: OptimizerSpec) -> Lbfgs:
    _refuse_learning_rate(spec, "its line search finds the step")
    _refuse_schedule(spec)
    options: dict[str, Any] = read_options("lbfgs", spec.options, lbfgs.OPTIONS)
    return Lbfgs(**options)


def _build_spsa(spec: OptimizerSpec) -> Spsa:
    _refuse_schedule(spec)
    options: dict[str, Any] = read_options("spsa", spec.options, spsa.OPTIONS)
    if "a" in options and spec.learning_rate is not None:
        raise SpecError(
            "optimizer.options.a", options["a"], "the same as optimizer.learning_rate", "give one of the two"
        )
    stability = 0.1 * spec.max_iterations
    default = spsa.default_gain(stability, options.get("alpha", spsa.OPTIONS["alpha"].default))
    gain = options.pop("a", spec.learning_rate or default)
    return Spsa(a=gain, stability=stability, **options)


def _build_line_fit(spec: OptimizerSpec, spectrum: Sequence[Frequencies] | None) -> LineFit:
    _refuse_learning_rate(spec, "it jumps to the minimum of each line")
    _refuse_schedule(spec)
    read_options("rotosolve", spec.options, {})
    if not spectrum:
        raise SpecError(
            "optimizer.name",
            spec.name,
            "the energy has no known set of commensurate frequencies along each parameter",
            "use an ansatz of Pauli rotations or excitations, or another optimizer such as adam",
        )
    degree = max(f.degree for f in spectrum)
    if degree > DEGREE_MAX:
        raise SpecError(
            "optimizer.name",
            spec.name,
            f"one parameter drives {degree} frequencies, the limit is {DEGREE_MAX}",
            "use lbfgs or adam for ansaetze whose parameters are shared by many gates",
        )
    return LineFit(tuple(spectrum))


def _refuse_learning_rate(spec: OptimizerSpec, why: str) -> None:
    if spec.learning_rate is not None:
        raise SpecError(
            "optimizer.learning_rate",
            spec.learning_rate,
            f"{spec.name} has no learning rate, {why}",
            "remove it",
        )


def _refuse_schedule(spec: OptimizerSpec) -> None:
    if spec.schedule != ScheduleSpec():
        raise SpecError(
            "optimizer.schedule.kind",
            spec.schedule.kind,
            f"{spec.name} takes no learning-rate schedule",
            "remove optimizer.schedule",
        )
