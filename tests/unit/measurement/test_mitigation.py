"""Mitigation against exact distributions: unbiased where it says so, at the variance that it says."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from backends.jax_device import JaxDevice
from measurement import Bases, ExecutionPlan, Grouping, Outcome, qubit_wise_commuting
from measurement.mitigation import (
    EXTRAPOLATIONS,
    ForecastInputs,
    Noise,
    Piece,
    ReadoutErrors,
    Treatment,
    balanced_flips,
    calibration_plan,
    candidates,
    choose,
    combine,
    plain,
    polynomial,
    unmitigated,
    verified,
)
from problems import Circuit, Problem, build_ansatz, build_problem
from problems.pauli import parity
from shotwise.spec import MoleculeSpec, UccsdAnsatz

jax.config.update("jax_enable_x64", True)
RNG = np.random.default_rng


@pytest.fixture(scope="module")
def h2() -> tuple[Problem, Circuit, Grouping]:
    spec = MoleculeSpec(kind="molecule", geometry="He 0 0 0; H 0 0 0.7743", charge=1)
    problem = build_problem(spec)
    return (
        problem,
        build_ansatz(UccsdAnsatz(kind="uccsd"), problem).circuit,
        qubit_wise_commuting(problem.hamiltonian),
    )


def distributions(circuit: Circuit, bases: Bases, parameters: np.ndarray) -> np.ndarray:
    """Exact probabilities of every basis, shape (bases, 2**n)."""
    state = np.zeros(1 << circuit.n_qubits, dtype=complex)
    state[circuit.initial_state] = 1
    state = rotated(state, circuit, circuit.angles(parameters[None, :])[0])
    changes = [
        Circuit.build(circuit.n_qubits, bases.rotations(b, circuit.n_qubits)) for b in range(len(bases))
    ]
    return np.array([np.abs(rotated(state, change, change.offset)) ** 2 for change in changes])


def rotated(state: np.ndarray, circuit: Circuit, angles: np.ndarray) -> np.ndarray:
    """The state after exp(-i angle/2 P) for every Pauli string of every rotation."""
    states = np.arange(len(state))
    for index, angle in enumerate(angles):
        for x, z, factor in circuit.pauli_rotations(index):
            turned = 1j ** (x & z).bit_count() * (1 - 2 * parity(states & z)) * state  # P|k> is on k ^ x
            half = factor * angle / 2
            state = np.cos(half) * state - 1j * np.sin(half) * turned[states ^ x]
    return state


def plan_of(circuit: Circuit, bases: Bases, parameters: np.ndarray, shots: np.ndarray) -> ExecutionPlan:
    rows = np.arange(len(bases))
    return ExecutionPlan(
        circuit, circuit.angles(parameters[None, :]), bases, np.zeros_like(rows), rows, shots, (1,)
    )


def noisy(
    plan: ExecutionPlan, exact: np.ndarray, rng: np.random.Generator, *, success: float, e: np.ndarray
) -> Outcome:
    """A device that depolarises every copy of the ansatz with 1 - success, and misreads single qubits."""
    rows, states = [], exact.shape[1]
    for row in range(len(plan)):
        basis = int(plan.basis[row])
        copies, flips = plan.bases.copies_at(basis), plan.bases.flips_at(basis)
        pure = np.eye(states)[0] if copies == 0 else exact[basis % len(exact)]
        p = success**copies * pure + (1 - success**copies) / states
        p = misread(p[np.arange(states) ^ flips], e)
        counts = rng.multinomial(int(plan.shots[row]), p / p.sum())
        rows.append((np.flatnonzero(counts), counts[counts > 0]))
    return Outcome.from_rows(rows)


def misread(p: np.ndarray, e: np.ndarray) -> np.ndarray:
    matrix = np.ones((1, 1))
    for e0, e1 in e:
        matrix = np.kron(np.array([[1 - e0, e1], [e0, 1 - e1]]), matrix)  # qubit q at bit q
    return matrix @ p


def energy(problem: Problem, circuit: Circuit, parameters: np.ndarray) -> float:
    angles = circuit.angles(parameters[None, :])
    return float(JaxDevice().expectation(circuit, problem.hamiltonian, angles, gradient=False).values[0])


@pytest.mark.parametrize(
    ("scales", "degree", "factor"),
    [((1, 3), 1, 4), ((1, 2, 3), 2, 49), ((1, 3, 5), 2, 12.25), ((1, 3, 5), 1, 3.36)],
)
def test_extrapolation_has_the_published_variance_factors(
    scales: tuple[int, ...], degree: int, factor: float
) -> None:
    found = polynomial(scales, degree)
    assert np.abs(found.weights).sum() ** 2 == pytest.approx(factor, rel=2e-3)
    coefficients = RNG(0).normal(size=degree + 1)
    values = np.polynomial.polynomial.polyval(np.array(scales, dtype=float), coefficients)
    assert found.at_zero(values) == pytest.approx(coefficients[0])


def test_readout_inversion_is_exact_and_costs_the_inverse_square_of_the_shrinkage() -> None:
    rng = RNG(1)
    e = rng.uniform(0, 0.2, (3, 2))
    errors = ReadoutErrors(e, np.zeros_like(e))
    values, p = rng.normal(size=8), rng.dirichlet(np.ones(8))
    assert errors.dual(values) @ misread(p, e) == pytest.approx(values @ p)
    symmetric = ReadoutErrors.from_snapshot(np.array([0.1, 0.05, 0.02]))
    zz = 1 - 2 * np.array([(k & 0b011).bit_count() % 2 for k in range(8)])
    assert symmetric.dual(zz) == pytest.approx(zz / (0.8 * 0.9))


def test_slopes_by_readout_errors_are_derivatives() -> None:
    rng = RNG(2)
    e, values, read = rng.uniform(0, 0.2, (3, 2)), rng.normal(size=8), rng.dirichlet(np.ones(8))

    def mean(at: np.ndarray) -> float:
        return float(ReadoutErrors(at, np.zeros_like(at)).dual(values) @ read)

    errors = ReadoutErrors(e, np.zeros_like(e))
    slopes = errors.gradient(errors.dual(values), read)
    for at in np.ndindex(e.shape):
        step = np.zeros_like(e)
        step[at] = 1e-6
        assert slopes[at] == pytest.approx((mean(e + step) - mean(e - step)) / 2e-6, rel=1e-5, abs=1e-9)


@pytest.mark.parametrize("n_qubits", [1, 2, 4, 7])
def test_flips_are_balanced_in_every_pair(n_qubits: int) -> None:
    flips = np.array(balanced_flips(n_qubits))
    bits = flips[:, None] >> np.arange(n_qubits) & 1
    assert (bits.sum(axis=0) * 2 == len(flips)).all()
    for a in range(n_qubits):
        for b in range(a):
            assert np.bincount(2 * bits[:, a] + bits[:, b], minlength=4).tolist() == [len(flips) // 4] * 4


@pytest.mark.parametrize("success", [1.0, 0.6])
def test_verified_energy_is_that_of_the_projected_state(
    h2: tuple[Problem, Circuit, Grouping], success: float
) -> None:
    problem, circuit, grouping = h2
    assert problem.sector is not None
    readings = verified(grouping, problem.hamiltonian, problem.sector)
    assert readings.kept is not None
    parameters = RNG(3).normal(size=circuit.n_parameters)
    exact = distributions(circuit, grouping.bases, parameters)
    p = success * exact + (1 - success) / 16
    kept = float((readings.kept * p).sum())
    found = readings.constant + float((readings.energy * p).sum()) / kept
    states = np.arange(16)
    inside = (np.bitwise_count(states & 0b0101) == 1) & (np.bitwise_count(states & 0b1010) == 1)
    diagonal = problem.hamiltonian.diagonal_at(states)[inside]
    assert kept == pytest.approx(success + (1 - success) * inside.mean())
    mixed = (1 - success) * diagonal.sum() / 16
    assert found == pytest.approx((success * energy(problem, circuit, parameters) + mixed) / kept)


@pytest.mark.parametrize("name", EXTRAPOLATIONS)
@pytest.mark.parametrize("twirling", [False, True])
def test_expanding_keeps_the_shots(h2: tuple[Problem, Circuit, Grouping], name: str, twirling: bool) -> None:
    _, circuit, grouping = h2
    treatment = Treatment(twirling=twirling, extrapolation=EXTRAPOLATIONS[name])
    plan = plan_of(circuit, grouping.bases, np.zeros(circuit.n_parameters), np.full(len(grouping), 301))
    expanded = treatment.expand(plan)
    assert expanded.shots_total == plan.shots_total
    assert expanded.shots.min() >= 2
    assert len(expanded) == len(plan) * len(treatment.variations(circuit.n_qubits))
    few = treatment.expand(replace(plan, shots=np.full(len(plan), 2)))
    assert few.shots_total == len(plan) * treatment.shots_min(circuit.n_qubits)


@pytest.mark.parametrize(
    ("treatment", "shots", "seeds", "least", "most"),
    [
        (Treatment(readout=True), 400, 300, 273, 297),
        (Treatment(symmetry=True, readout=True), 1000, 300, 273, 297),
        (
            Treatment(readout=True, twirling=True, extrapolation=EXTRAPOLATIONS["richardson 1,3"]),
            400,
            60,
            51,
            60,
        ),
    ],
    ids=lambda value: "+".join(value.names) if isinstance(value, Treatment) else None,
)
def test_mitigated_intervals_cover(
    h2: tuple[Problem, Circuit, Grouping],
    treatment: Treatment,
    shots: int,
    seeds: int,
    least: int,
    most: int,
) -> None:
    """95 % intervals, a calibration anew for every seed; outside of [least, most] by chance in 1 of 1000."""
    problem, circuit, grouping = h2
    assert problem.sector is not None
    parameters = np.array([-0.13, 0.02, 0.02])
    exact = distributions(circuit, grouping.bases, parameters)
    e = np.array([[0.02, 0.06], [0.03, 0.05], [0.01, 0.09], [0.02, 0.04]])
    unverified = plain(grouping, 4)
    readings = verified(grouping, problem.hamiltonian, problem.sector) if treatment.symmetry else unverified
    plan = plan_of(circuit, grouping.bases, parameters, np.full(len(grouping), shots))
    calibrates = calibration_plan(plan, 4 * shots, (1,))
    expanded, wanted, inside = treatment.expand(plan), energy(problem, circuit, parameters), 0
    for seed in range(seeds):
        rng = RNG((seed, 7))
        errors = ReadoutErrors.from_calibration(calibrates, noisy(calibrates, exact, rng, success=1.0, e=e))
        outcome = noisy(expanded, exact, rng, success=1.0, e=e)
        found = combine(treatment, [Piece(expanded, outcome, errors)], readings, unverified)
        inside += abs(found.means[0] - wanted) < 1.96 * np.sqrt(found.variances[0])
    assert least <= inside <= most


def test_pieces_of_two_devices_are_corrected_each_by_its_own_errors(
    h2: tuple[Problem, Circuit, Grouping],
) -> None:
    """With infinitely many shots in effect, rows split over devices that read differently give the energy."""
    problem, circuit, grouping = h2
    parameters = np.array([-0.13, 0.02, 0.02])
    exact = distributions(circuit, grouping.bases, parameters)
    plan = plan_of(circuit, grouping.bases, parameters, np.full(len(grouping), 10**7))
    pieces = []
    for seed, scale in ((1, 0.02), (2, 0.1)):
        e = np.full((4, 2), scale)
        outcome = noisy(plan, exact, RNG(seed), success=1.0, e=e)
        pieces.append(Piece(plan, outcome, ReadoutErrors(e, np.zeros_like(e))))
    readings = plain(grouping, 4)
    found = combine(Treatment(readout=True), pieces, readings, readings)
    assert found.means[0] == pytest.approx(energy(problem, circuit, parameters), abs=1e-3)
    part = replace(plan, point=plan.point[1:], basis=plan.basis[1:], shots=plan.shots[1:])
    rest = Outcome.from_rows([pieces[0].outcome.row(row) for row in range(1, len(plan))])
    with pytest.raises(ValueError, match="without shots"):
        combine(Treatment(), [Piece(part, rest, pieces[0].errors)], readings, readings)


def test_what_one_copy_gave_is_found_again(h2: tuple[Problem, Circuit, Grouping]) -> None:
    _, circuit, grouping = h2
    plan = plan_of(circuit, grouping.bases, np.zeros(3), np.full(len(grouping), 500))
    expanded = Treatment(twirling=True, extrapolation=EXTRAPOLATIONS["richardson 1,3"]).expand(plan)
    exact = distributions(circuit, grouping.bases, np.zeros(3))
    outcome = noisy(expanded, exact, RNG(4), success=1.0, e=np.zeros((4, 2)))
    back, seen = unmitigated(plan, expanded, outcome)
    assert back.shots.sum() == expanded.shots[expanded.basis < len(expanded.bases) // 2].sum()
    computational = int(np.flatnonzero(grouping.bases.x == 0)[0])
    assert seen.row(computational)[0].tolist() == [circuit.initial_state]


def inputs(h2: tuple[Problem, Circuit, Grouping], shots: int) -> ForecastInputs:
    problem, circuit, grouping = h2
    assert problem.sector is not None
    return ForecastInputs(
        plain(grouping, 4),
        verified(grouping, problem.hamiltonian, problem.sector),
        grouping.bases.x == 0,
        circuit.initial_state,
        np.full(len(grouping), float(shots)),
        shots,
        10_000,
    )


def test_auto_declines_where_nothing_can_be_gained(h2: tuple[Problem, Circuit, Grouping]) -> None:
    asked = replace(inputs(h2, 100), verified=None)
    for noise in (Noise(1.0, (0.0,) * 4), Noise(0.9999, (1e-5,) * 4)):
        found = choose(candidates(None, asked, 4), asked, noise)
        assert found.chosen.treatment == Treatment()
        assert found.reason.startswith("none")


def test_auto_takes_what_pays_and_never_what_is_predicted_worse(
    h2: tuple[Problem, Circuit, Grouping],
) -> None:
    asked = inputs(h2, 2_000)
    for success in (0.99, 0.9, 0.6, 0.3):
        found = choose(candidates(None, asked, 4), asked, Noise(success, (0.02,) * 4))
        assert found.chosen.error < found.untreated.error / 2
        assert "symmetry" in found.chosen.treatment.names
    named = candidates(["zne"], asked, 4)
    assert {t.names for t in named} == {("zne",)}


def test_a_calibration_that_nothing_shares_is_not_bought(h2: tuple[Problem, Circuit, Grouping]) -> None:
    noise = Noise(0.999, (0.02,) * 4)
    shared, alone = (
        replace(inputs(h2, 200), verified=None, calibration_overhead=overhead) for overhead in (0.0, 100.0)
    )
    assert "readout" in choose(candidates(None, shared, 4), shared, noise).chosen.treatment.names
    assert "readout" not in choose(candidates(None, alone, 4), alone, noise).chosen.treatment.names


def test_few_shots_are_not_extrapolated(h2: tuple[Problem, Circuit, Grouping]) -> None:
    """The variance that extrapolation adds counts: with few shots it must not pay, with many it must."""
    noise = Noise(0.97, (0.001,) * 4)
    few, many = inputs(h2, 30), inputs(h2, 10**7)
    assert "zne" not in choose(candidates(None, few, 4), few, noise).chosen.treatment.names
    assert "zne" in choose(candidates(None, many, 4), many, noise).chosen.treatment.names
    none_left = replace(many, shots_least=2)
    assert all(t.extrapolation.name == "none" for t in candidates(None, none_left, 4))
