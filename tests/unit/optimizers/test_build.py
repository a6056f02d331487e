"""From spec to optimizer: what is built, and every way to be told that it cannot be."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import pytest

from optimizers import (
    Frequencies,
    GradientDescent,
    Lbfgs,
    LineFit,
    NaturalGradient,
    Need,
    Sampling,
    Spsa,
    build_optimizer,
    build_termination,
    optimizer_names,
)
from optimizers.learning_rate import build_learning_rate
from shotwise.errors import SpecError
from shotwise.spec.run import SHOT_CHOOSERS, OptimizerSpec, ScheduleSpec

SPECTRUM = (Frequencies(1.0, 1), Frequencies(0.5, 2))


@pytest.mark.parametrize(
    ("name", "kind", "need", "points", "sweep"),
    [
        ("adam", GradientDescent, Need.GRADIENT, 1, 1),
        ("lbfgs", Lbfgs, Need.GRADIENT, 1, 1),
        ("spsa", Spsa, Need.VALUE, 2, 1),
        ("qng", NaturalGradient, Need.METRIC, 1, 1),
        ("rotosolve", LineFit, Need.VALUE, 4, 2),
    ],
)
def test_names(name, kind, need, points, sweep):
    spec = OptimizerSpec(name=name, max_iterations=77, tolerance=1e-5)
    optimizer = build_optimizer(spec, SPECTRUM)
    assert type(optimizer) is kind
    assert (optimizer.need, optimizer.points_per_ask, optimizer.sweep) == (need, points, sweep)
    rule = build_termination(spec, optimizer)
    assert (rule.max_iterations, rule.tolerance, rule.sweep) == (77, 1e-5, sweep)


def test_every_name_builds_with_its_defaults_and_hashes():
    for name in optimizer_names():
        hash(build_optimizer(OptimizerSpec(name=name), SPECTRUM, Sampling(shots_min=20)))


def test_spsa_settings():
    plain = build_optimizer(OptimizerSpec(name="spsa", max_iterations=200), None)
    assert isinstance(plain, Spsa)
    assert plain.stability == pytest.approx(20.0)
    assert plain.a / 21.0**0.602 == pytest.approx(0.15)
    given = OptimizerSpec(
        name="spsa", learning_rate=0.7, options={"c": 0.05, "alpha": 1.0, "averages": 5.0, "step_max": 2.0}
    )
    built = build_optimizer(given, None)
    assert isinstance(built, Spsa)
    assert (built.a, built.c, built.alpha, built.averages, built.step_max) == (0.7, 0.05, 1.0, 5, 2.0)
    assert type(built.averages) is int
    named = build_optimizer(OptimizerSpec(name="spsa", options={"a": 0.3}), None)
    assert isinstance(named, Spsa)
    assert named.a == 0.3


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"name": "adma"}, "optimizer.name"),
        ({"name": "__doc__"}, "optimizer.name"),
        ({"name": "polyak_sgd"}, "optimizer.name"),
        ({"options": {"beta1": 0.9}}, "optimizer.options.beta1"),
        ({"options": {"mu_dtype": 1.0}}, "optimizer.options.mu_dtype"),
        ({"options": {"learning_rate": 1.0}}, "optimizer.options.learning_rate"),
        ({"options": {"b1": 1.0}}, "optimizer.options.b1"),
        ({"options": {"b1": True}}, "optimizer.options.b1"),
        ({"options": {"eps": -1e-8}}, "optimizer.options.eps"),
        ({"options": {"nesterov": 1.0}}, "optimizer.options.nesterov"),
        ({"name": "adafactor", "options": {"min_dim_size_to_factor": 1.5}}, "optimizer.options.min_dim_size"),
        ({"name": "sign_sgd", "options": {"b1": 0.5}}, "optimizer.options.b1"),
        ({"name": "sm3", "schedule": ScheduleSpec(kind="linear")}, "optimizer.schedule.kind"),
        ({"name": "lbfgs", "learning_rate": 0.1}, "optimizer.learning_rate"),
        ({"name": "lbfgs", "schedule": ScheduleSpec(kind="linear")}, "optimizer.schedule.kind"),
        ({"name": "lbfgs", "options": {"memory": 0.0}}, "optimizer.options.memory"),
        ({"name": "lbfgs", "options": {"memory": 1e300}}, "optimizer.options.memory"),
        ({"name": "rotosolve", "learning_rate": 0.1}, "optimizer.learning_rate"),
        ({"name": "rotosolve", "schedule": ScheduleSpec(kind="linear")}, "optimizer.schedule.kind"),
        ({"name": "rotosolve", "options": {"b1": 0.5}}, "optimizer.options.b1"),
        ({"name": "spsa", "schedule": ScheduleSpec(kind="linear")}, "optimizer.schedule.kind"),
        ({"name": "spsa", "learning_rate": 0.1, "options": {"a": 0.1}}, "optimizer.options.a"),
        ({"name": "spsa", "options": {"averages": 0.0}}, "optimizer.options.averages"),
        ({"name": "spsa", "options": {"averages": True}}, "optimizer.options.averages"),
        ({"name": "spsa", "options": {"c": 0.0}}, "optimizer.options.c"),
        ({"name": "spsa", "options": {"alpha": 1.1}}, "optimizer.options.alpha"),
        ({"name": "qng", "options": {"regularization": 0.0}}, "optimizer.options.regularization"),
        ({"name": "qng", "options": {"approx": True}}, "optimizer.options.approx"),
        (
            {"schedule": ScheduleSpec(kind="linear", end_value=0.2), "learning_rate": 0.1},
            "optimizer.schedule.end_value",
        ),
        (
            {"schedule": ScheduleSpec(kind="warmup_cosine"), "max_iterations": 10},
            "optimizer.schedule.warmup_iterations",
        ),
    ],
)
def test_a_mistake_is_named_with_its_field_and_remedy(spec, field):
    with pytest.raises(SpecError) as caught:
        build_optimizer(OptimizerSpec(**spec), SPECTRUM)
    assert caught.value.field.startswith(field)
    assert caught.value.remedy
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("spectrum", [None, (), (Frequencies(1.0, 33), Frequencies(1.0, 1))])
def test_rotosolve_refuses_a_landscape_that_it_cannot_fit(spectrum):
    with pytest.raises(SpecError, match="rotosolve") as caught:
        build_optimizer(OptimizerSpec(name="rotosolve"), spectrum)
    assert caught.value.field == "optimizer.name"


def test_what_optax_refuses_is_a_spec_error(monkeypatch):
    def refuse(*args, **kwargs):
        raise ValueError("no such thing")

    monkeypatch.setattr("optimizers.gradient_descent._function", lambda name: _with_signature(refuse))
    with pytest.raises(SpecError, match="no such thing") as caught:
        build_optimizer(OptimizerSpec(name="adam", options={"b1": 0.5}), None)
    assert caught.value.field == "optimizer.options"


def _with_signature(function):
    def stand_in(learning_rate, b1=0.9):
        return function(learning_rate, b1)

    return stand_in


def value(schedule, iteration: int) -> float:
    return float(schedule(iteration)) if callable(schedule) else schedule


@pytest.mark.parametrize(
    ("schedule", "start", "middle", "end"),
    [
        (ScheduleSpec(), 0.4, 0.4, 0.4),
        (ScheduleSpec(kind="exponential_decay", decay_rate=0.25), 0.4, 0.2, 0.1),
        (ScheduleSpec(kind="exponential_decay", decay_rate=0.25, end_value=0.15), 0.4, 0.2, 0.15),
        (ScheduleSpec(kind="exponential_decay", decay_rate=1.0), 0.4, 0.4, 0.4),
        (ScheduleSpec(kind="cosine_decay", end_value=0.1), 0.4, 0.25, 0.1),
        (ScheduleSpec(kind="linear", end_value=0.1), 0.4, 0.25, 0.1),
        (ScheduleSpec(kind="warmup_cosine", warmup_iterations=50, end_value=0.1), 0.008, 0.4, 0.1),
    ],
)
def test_schedules(schedule, start, middle, end):
    rate = build_learning_rate(schedule, 0.4, 100)
    for iteration, expected in [(0, start), (50, middle), (100, end), (1000, end)]:
        # an exponential decay goes on below its value at the end of the run
        if iteration == 1000 and schedule.kind == "exponential_decay":
            expected = max(0.4 * schedule.decay_rate**10, schedule.end_value)
        assert math.isclose(value(rate, iteration), expected, rel_tol=1e-6)


@pytest.mark.parametrize("name", optimizer_names())
def test_shots_are_chosen_by_those_that_the_spec_says_choose_them(name):
    optimizer = build_optimizer(OptimizerSpec(name=name), SPECTRUM, Sampling(shots_min=10))
    state = optimizer.init(jnp.zeros(len(SPECTRUM)), jax.random.PRNGKey(0))
    chosen = optimizer.shots(state)
    assert (chosen is not None) == (name in SHOT_CHOOSERS)
