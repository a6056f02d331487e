"""Grouping, allocation, estimation and parameter shifts, against small exact linear algebra."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.jax_device import JaxDevice
from measurement import (
    SHOTS_PER_GROUP_MIN,
    ExecutionPlan,
    Grouping,
    Outcome,
    ShiftRule,
    all_shifts,
    allocate,
    estimate,
    qubit_wise_commuting,
)
from measurement.estimator import group_mean
from problems.circuit import Circuit, Rotation
from problems.pauli import PauliSum

HAMILTONIAN = PauliSum.from_strings(
    {"IIII": 0.3, "ZIZI": 0.5, "XYYX": -0.3, "YXIZ": 0.2, "IZII": 0.1, "XXII": 0.4, "ZZZZ": -0.25}
)
CIRCUIT = Circuit.build(
    4,
    [
        Rotation(0b1111, 0, 0b0011, 0),
        Rotation(0b0101, 0b0010, 0b0001, 1, scale=0.7),
        Rotation(0b0011, 0b0001, None, 0, scale=2.0),
        Rotation(0, 0b0110, None, 2, scale=-1.5, offset=0.3),
        Rotation(0b1000, 0b1000, None, offset=0.4),
    ],
    initial_state=0b0011,
)


def plan(grouping: Grouping, points: np.ndarray, shots: int, seed: int) -> ExecutionPlan:
    groups, count = len(grouping), len(points)
    weights = np.array([group.weight for group in grouping.groups])
    return ExecutionPlan(
        CIRCUIT,
        CIRCUIT.angles(points),
        grouping.bases,
        np.repeat(np.arange(count), groups),
        np.tile(np.arange(groups), count),
        np.tile(allocate(shots, weights), count),
        (seed,),
    )


@given(st.dictionaries(st.text("IXYZ", min_size=5, max_size=5), st.floats(0.01, 10), min_size=1, max_size=30))
def test_groups_hold_every_term_once_and_commute_qubit_wise(terms: dict[str, float]) -> None:
    hamiltonian = PauliSum.from_strings(terms)
    grouping = qubit_wise_commuting(hamiltonian)
    grouped = sorted(c for group in grouping.groups for c in group.coefficients)
    assert grouped == sorted(hamiltonian.without_constant().coefficients)
    assert grouping.constant == terms.get("IIIII", 0.0)
    strings = hamiltonian.without_constant()
    for at, group in enumerate(grouping.groups):
        x, z = int(grouping.bases.x[at]), int(grouping.bases.z[at])
        for support, coefficient in zip(group.support, group.coefficients, strict=True):
            fits = ((strings.x | strings.z) == support) & (strings.coefficients == coefficient)
            fits &= (strings.x == (x & support)) & (strings.z == (z & support))
            assert fits.any()


@given(st.integers(1, 12), st.integers(0, 5000), st.data())
def test_every_shot_is_allocated_and_no_group_is_forgotten(
    groups: int, extra: int, data: st.DataObject
) -> None:
    weights = np.array(data.draw(st.lists(st.floats(0, 10), min_size=groups, max_size=groups)))
    shots = SHOTS_PER_GROUP_MIN * groups + extra
    allocated = allocate(shots, weights)
    assert allocated.sum() == shots
    assert allocated.min() >= SHOTS_PER_GROUP_MIN


def test_large_allocations_follow_neyman() -> None:
    weights = np.array([4.0, 2.0, 1.0])
    assert np.allclose(allocate(700_000, weights) / 700_000, weights / 7, atol=1e-5)


def test_too_few_shots_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 6"):
        allocate(5, np.ones(3))


def test_shifted_energies_give_the_adjoint_gradient() -> None:
    points = np.random.default_rng(1).normal(size=(3, CIRCUIT.n_parameters))
    angles = CIRCUIT.angles(points)
    device, rule = JaxDevice(), ShiftRule.of(CIRCUIT)
    adjoint = device.expectation(CIRCUIT, HAMILTONIAN, angles, gradient=True)
    assert adjoint.gradients is not None
    expected = adjoint.gradients @ CIRCUIT.jacobian()
    for at, point in enumerate(points):
        design = all_shifts(CIRCUIT, rule, point)
        shifted = device.expectation(CIRCUIT, HAMILTONIAN, design.angles, gradient=False).values
        value, _, gradient, variances = design.combine(shifted, np.ones_like(shifted))
        assert value == pytest.approx(adjoint.values[at], abs=1e-12)
        np.testing.assert_allclose(gradient, expected[at], atol=1e-12)
        assert (variances > 0).all()


def test_intervals_cover_the_exact_energy() -> None:
    """200 fixed seeds: a true 95 % interval falls outside 92..98 % of them with probability 0.06."""
    point = np.array([[0.4, -0.3, 0.8]])
    grouping, device = qubit_wise_commuting(HAMILTONIAN), JaxDevice()
    exact = device.expectation(CIRCUIT, HAMILTONIAN, CIRCUIT.angles(point), gradient=False).values[0]
    covered = 0
    for seed in range(200):
        one = plan(grouping, point, 1000, seed)
        found = estimate(one, grouping, device.sample(one))
        covered += abs(found.means[0] - exact) <= 1.96 * np.sqrt(found.variances[0])
    assert 184 <= covered <= 196


def test_estimates_are_unbiased_and_their_variance_is_the_scatter() -> None:
    """z of the mean over 400 estimates beyond 4 has a false-alarm rate of 6e-5; seeds are fixed."""
    point = np.array([[1.1, 0.2, -0.5]])
    grouping, device = qubit_wise_commuting(HAMILTONIAN), JaxDevice()
    exact = device.expectation(CIRCUIT, HAMILTONIAN, CIRCUIT.angles(point), gradient=False).values[0]
    plans = [plan(grouping, point, 400, seed) for seed in range(400)]
    found = [estimate(one, grouping, device.sample(one)) for one in plans]
    means = np.array([f.means[0] for f in found])
    stated = np.mean([f.variances[0] for f in found])
    assert abs(means.mean() - exact) < 4 * means.std() / 20
    assert 0.8 < stated / means.var() < 1.25


def test_agreeing_shots_do_not_claim_certainty() -> None:
    grouping = qubit_wise_commuting(PauliSum.from_strings({"ZI": 1.0}))
    mean, variance = group_mean(grouping.groups[0], np.array([0]), np.array([100]))
    assert mean == 1.0
    assert variance == pytest.approx(1e-4)


def test_a_missing_group_is_an_error_not_a_wrong_energy() -> None:
    grouping = qubit_wise_commuting(HAMILTONIAN)
    whole = plan(grouping, np.zeros((1, 3)), 100, 0)
    part = ExecutionPlan(
        CIRCUIT, whole.angles, whole.bases, whole.point[1:], whole.basis[1:], whole.shots[1:], whole.seed
    )
    with pytest.raises(ValueError, match="without shots"):
        estimate(part, grouping, JaxDevice().sample(part))


def test_outcomes_round_trip() -> None:
    grouping = qubit_wise_commuting(HAMILTONIAN)
    outcome = JaxDevice().sample(plan(grouping, np.zeros((2, 3)), 50, 3))
    again = Outcome.from_bytes(outcome.to_bytes())
    for row in range(len(outcome)):
        for a, b in zip(outcome.row(row), again.row(row), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("shots", [2, 3, 10])
def test_few_shots_of_terms_that_move_together_do_not_claim_too_small_an_error(shots: int) -> None:
    # of a GHZ state all of Z_0 ... Z_7 are 1, or all -1: the group's variance is 64, its weight squared 8
    (group,) = qubit_wise_commuting(
        PauliSum.from_strings({"I" * q + "Z" + "I" * (7 - q): 1.0 for q in range(8)})
    ).groups
    ones = np.random.default_rng(1).binomial(shots, 0.5, size=2000)
    found = [group_mean(group, np.array([0, 255]), np.array([shots - k, k])) for k in ones]
    means, variances = np.array(found).T
    assert 0.95 * means.var() < variances.mean() < 1.3 * means.var()


def test_a_group_without_shots_is_an_error() -> None:
    (group,) = qubit_wise_commuting(PauliSum.from_strings({"ZI": 1.0})).groups
    with pytest.raises(ValueError, match="without shots"):
        group_mean(group, np.array([], dtype=np.int64), np.array([], dtype=np.int64))
