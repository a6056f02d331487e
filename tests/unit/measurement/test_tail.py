"""Conditional value at risk: the estimate, its error bar, and its gradients."""

from __future__ import annotations

import numpy as np
import pytest

from backends.engines.diagonal import DiagonalProgram
from backends.jax_device import JaxDevice, program_of
from backends.tail_expectation import of_any, tail_expectation
from measurement import (
    ExecutionPlan,
    Grouping,
    ShiftRule,
    all_shifts,
    clipped,
    estimate,
    quantile,
    qubit_wise_commuting,
    tail_estimates,
)
from problems.ansatz import Ansatz, build_ansatz
from problems.build import build_problem
from problems.problem import Problem
from shotwise.spec import MaxCutSpec, QaoaAnsatz, RandomRegular

ALPHA = 0.2


@pytest.fixture(scope="module")
def problem() -> Problem:
    generator = RandomRegular(name="random_regular", degree=3, nodes=8, seed=3)
    return build_problem(MaxCutSpec(kind="maxcut", generator=generator))


@pytest.fixture(scope="module")
def ansatz(problem: Problem) -> Ansatz:
    return build_ansatz(QaoaAnsatz(kind="qaoa", layers=2), problem)


def plan_of(ansatz: Ansatz, grouping: Grouping, angles: np.ndarray, shots: int, seed: int) -> ExecutionPlan:
    rows = np.arange(len(angles))
    return ExecutionPlan(
        ansatz.circuit, angles, grouping.bases, rows, np.zeros_like(rows), np.full(len(rows), shots), (seed,)
    )


def exact(ansatz: Ansatz, problem: Problem, point: np.ndarray, alpha: float, *, gradient: bool = False):
    angles = ansatz.circuit.angles(np.atleast_2d(point))
    return tail_expectation(ansatz.circuit, problem.hamiltonian, angles, alpha, gradient=gradient)


def test_cvar_is_the_mean_of_the_lowest_share() -> None:
    energies, counts = np.array([3.0, 1.0, 2.0]), np.array([5, 2, 3])
    assert quantile(energies, counts, 0.4) == 2.0
    # the lowest four of ten: twice 1 and twice 2
    assert clipped(energies, 2.0, 0.4) @ counts / 10 == pytest.approx((2 * 1 + 2 * 2) / 4)
    assert quantile(energies, counts, 1.0) == 3.0
    assert clipped(energies, 3.0, 1.0) == pytest.approx(energies)


def test_the_whole_tail_is_the_expectation(problem: Problem, ansatz: Ansatz) -> None:
    angles = ansatz.circuit.angles(ansatz.start[None, :])
    found = exact(ansatz, problem, ansatz.start, 1.0, gradient=True)
    mean = JaxDevice().expectation(ansatz.circuit, problem.hamiltonian, angles, gradient=True)
    assert found.values == pytest.approx(mean.values)
    assert found.gradients is not None
    assert mean.gradients is not None
    np.testing.assert_allclose(found.gradients, mean.gradients, atol=1e-12)
    grouping = qubit_wise_commuting(problem.hamiltonian)
    plan = plan_of(ansatz, grouping, angles, 500, 1)
    outcome = JaxDevice().sample(plan)
    whole, ordinary = (
        tail_estimates(plan, problem.hamiltonian, outcome, 1.0),
        estimate(plan, grouping, outcome),
    )
    assert whole.means == pytest.approx(ordinary.means)
    assert whole.variances == pytest.approx(ordinary.variances)


def test_a_smaller_tail_lies_lower(problem: Problem, ansatz: Ansatz) -> None:
    values = [exact(ansatz, problem, ansatz.start, alpha).values[0] for alpha in (0.01, 0.1, 0.5, 1.0)]
    assert values == sorted(values)
    assert problem.reference is not None
    assert values[0] >= problem.reference.energy - 1e-12


def test_the_exact_gradient_is_the_finite_difference(problem: Problem, ansatz: Ansatz) -> None:
    point, step = 0.4 * ansatz.start, 1e-6
    found = exact(ansatz, problem, point, ALPHA, gradient=True)
    assert found.gradients is not None
    gradient = found.gradients[0] @ ansatz.circuit.jacobian()
    for at, direction in enumerate(np.eye(len(point))):
        high = exact(ansatz, problem, point + step * direction, ALPHA).values[0]
        low = exact(ansatz, problem, point - step * direction, ALPHA).values[0]
        assert gradient[at] == pytest.approx((high - low) / (2 * step), abs=1e-5)


def test_sampled_values_and_gradients_agree_with_exact_ones(problem: Problem, ansatz: Ansatz) -> None:
    """Five standard errors: false alarms in about 3 of a million, over five numbers."""
    point = 0.4 * ansatz.start
    design = all_shifts(ansatz.circuit, ShiftRule.of(ansatz.circuit), point)
    grouping = qubit_wise_commuting(problem.hamiltonian)
    plan = plan_of(ansatz, grouping, design.angles, 20_000, 5)
    leaders = np.zeros(len(design), dtype=np.int64)
    found = tail_estimates(plan, problem.hamiltonian, JaxDevice().sample(plan), ALPHA, leaders)
    value, variance, gradient, gradient_variance = design.combine(found.means, found.variances)
    wanted = exact(ansatz, problem, point, ALPHA, gradient=True)
    assert abs(value - wanted.values[0]) < 5 * np.sqrt(variance)
    assert wanted.gradients is not None
    slopes = wanted.gradients[0] @ ansatz.circuit.jacobian()
    assert np.all(np.abs(gradient - slopes) < 5 * np.sqrt(gradient_variance))
    assert np.abs(slopes).max() > 10 * np.sqrt(gradient_variance).max(), "the comparison must be sharp"


@pytest.mark.parametrize("alpha", [0.2, 0.6])
def test_the_error_bar_covers(problem: Problem, ansatz: Ansatz, alpha: float) -> None:
    """1000 evaluations: a true 95 % interval stays within 93..98 % in 99.8 % of such tests."""
    runs, shots = 1000, 2000
    angles = np.repeat(ansatz.circuit.angles(0.4 * ansatz.start[None, :]), runs, axis=0)
    plan = plan_of(ansatz, qubit_wise_commuting(problem.hamiltonian), angles, shots, 11)
    found = tail_estimates(plan, problem.hamiltonian, JaxDevice().sample(plan), alpha)
    wanted = exact(ansatz, problem, 0.4 * ansatz.start, alpha).values[0]
    inside = np.abs(found.means - wanted) <= 1.96 * np.sqrt(found.variances)
    assert 0.93 <= inside.mean() <= 0.98
    assert abs(found.means.mean() - wanted) < 0.3 * np.sqrt(found.variances.mean()), (
        "bias well below the error"
    )


def test_shots_that_all_agree_are_not_certain(problem: Problem, ansatz: Ansatz) -> None:
    plan = plan_of(
        ansatz, qubit_wise_commuting(problem.hamiltonian), np.zeros((1, len(ansatz.circuit))), 1, 0
    )
    found = tail_estimates(plan, problem.hamiltonian, JaxDevice().sample(plan), ALPHA)
    assert found.variances[0] > 0


def test_the_engine_of_cuts_agrees_with_the_whole_state(problem: Problem, ansatz: Ansatz) -> None:
    points = np.random.default_rng(4).normal(size=(3, len(ansatz.start)))
    assert isinstance(program_of(ansatz.circuit, problem.hamiltonian), DiagonalProgram)
    found = exact(ansatz, problem, points, ALPHA, gradient=True)
    angles = ansatz.circuit.angles(points)
    whole = of_any(ansatz.circuit, problem.hamiltonian, angles, ALPHA, gradient=True)
    assert whole.gradients is not None
    np.testing.assert_allclose(found.values, whole.values, atol=1e-10)
    np.testing.assert_allclose(found.gradients, whole.gradients, atol=1e-9)
    np.testing.assert_allclose(exact(ansatz, problem, points, ALPHA).values, whole.values, atol=1e-10)
