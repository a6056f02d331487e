"""The quantum half of an iteration: what to run, and what the answers say. Knows nothing of Prefect."""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

from backends.jax_device import JaxDevice
from backends.tail_expectation import tail_expectation
from measurement import (
    Combination,
    Estimates,
    ExecutionPlan,
    GradientDesign,
    GroupVariances,
    Outcome,
    ShiftRule,
    allocate_all,
    combine,
    estimate,
    tail_estimates,
)
from optimizers import Evaluation, Need
from problems import Circuit, grow
from shotwise.rng import Purpose, stream
from tasks.gradient import Gradient, design_of, gradient_of
from tasks.mitigation import MitigatedPart
from tasks.prepared import Prepared
from tasks.sampling import centre_sigmas, check_energy_shots, energy_shots, pilot_shots
from tasks.state import LoopState, Sample

CANDIDATES_EVERY = 10
CANDIDATE_SHOTS = 1000
"""Where energies are exact, candidate solutions are drawn this often and this many."""
CENTRE_RADIUS = 0.5
"""Radians of any angle within which a point's variances count as those where the optimizer stands."""


@dataclass(frozen=True, eq=False)
class Answer:
    """What one iteration learned.

    Attributes:
        evaluation: for the optimizer; where the ansatz grows, its gradient is that of the pool.
        sample: the best basis state seen, for diagonal problems.
        group_variances, centre_group_variances: what is now known; None where energies are exact.
        fidelity: weight on the exact ground space, None where unknown.
        evaluations: energies evaluated.
        shots, cost_micro_usd: spent.
    """

    evaluation: Evaluation
    sample: Sample | None
    fidelity: float | None
    evaluations: int
    shots: int
    cost_micro_usd: int = 0
    group_variances: GroupVariances | None = None
    centre_group_variances: GroupVariances | None = None


@dataclass(frozen=True, eq=False)
class BatchResult:
    """What a plan brought: a (plan, outcome) for every device that shared its shots, and what all cost.

    Where a part was mitigated, its entry of `mitigated` holds all that ran, and `parts` what one copy of the
    ansatz gave. `mitigated` is () where nothing was.
    """

    parts: tuple[tuple[ExecutionPlan, Outcome], ...]
    shots: int
    cost_micro_usd: int
    mitigated: tuple[MitigatedPart | None, ...] = ()

    @classmethod
    def free(cls, plan: ExecutionPlan, outcome: Outcome) -> BatchResult:
        """From one device that costs nothing."""
        return cls(((plan, outcome),), plan.shots_total, 0)


def circuit_of(prepared: Prepared, state: LoopState) -> Circuit:
    """The circuit that the next iteration runs.

    Where an adaptive ansatz grows, its parameters are frozen and every operator of the pool is appended
    with a parameter of its own: at zero, their gradients are those of arXiv:1812.11173.
    """
    circuit = prepared.stage(state.operators).circuit
    if not state.growing:
        return circuit
    circuit = circuit.bind_parameters(state.parameters)
    for operator in prepared.ansatz.pool or ():
        circuit = grow(circuit, operator)
    return circuit


def points_of(prepared: Prepared, state: LoopState) -> np.ndarray:
    """The parameter points that the next iteration evaluates, shape (points, parameters)."""
    if state.growing:
        return np.zeros((1, len(prepared.ansatz.pool or ())))
    if state.piloting:
        return state.parameters[None, :]
    return np.asarray(prepared.stage(state.operators).ask(state.optimizer))


def need_of(prepared: Prepared, state: LoopState) -> Need:
    """What the next iteration wants to know at its points."""
    if state.piloting:
        return Need.VALUE
    return Need.GRADIENT if state.growing else prepared.stage(state.operators).optimizer.need


def answer_exactly(prepared: Prepared, state: LoopState) -> Answer:
    """Evaluate the next iteration's points without sampling noise."""
    circuit, points, need = circuit_of(prepared, state), points_of(prepared, state), need_of(prepared, state)
    evaluation = _expectations(prepared, circuit, points, need)
    draw = prepared.problem.observable.is_diagonal and state.iteration % CANDIDATES_EVERY == 0
    sample = draw_candidates(prepared, circuit, points[:1], state.iteration) if draw else None
    return Answer(evaluation, sample, _fidelity(prepared, state, circuit, points), len(points), 0)


def plan_iteration(prepared: Prepared, state: LoopState) -> ExecutionPlan:
    """The circuits of the next sampled iteration, those for its gradients included, as one batch."""
    circuit, points = circuit_of(prepared, state), points_of(prepared, state)
    wish = shots_wanted(prepared, state)
    if need_of(prepared, state) is Need.VALUE:
        asked = wish > 0
        angles, shots = circuit.angles(points[asked]), wish[asked]
    else:
        designs = gradient_designs(prepared, state, circuit, points)
        angles = np.concatenate([design.angles for design in designs])
        shots = np.concatenate(
            [
                np.full(len(design), each) if np.ndim(each) == 0 else design.shots(each)
                for design, each in zip(designs, wish, strict=True)
            ]
        )
    sigmas = _sigmas_of(prepared, state, near_centre(prepared, state, circuit, angles), shots)
    purpose = Purpose.PILOT if state.piloting else Purpose.MEASUREMENT
    return plan_energies(prepared, circuit, angles, shots, sigmas, (purpose, state.iteration))


def _sigmas_of(prepared: Prepared, state: LoopState, near: np.ndarray, shots: np.ndarray) -> np.ndarray:
    """The groups' standard deviations at every row, shape (rows, groups).

    A target error that sets the shots is meant where the run stands: the rows near have those of the centre.
    """
    sigmas = np.tile(state.variances.sigmas, (len(near), 1))
    if prepared.needs_pilot and near.any():
        planned = max(int(shots[near][0]), prepared.shots_min)
        sigmas[near] = centre_sigmas(prepared, state, shots=planned)
    return sigmas


def near_centre(prepared: Prepared, state: LoopState, circuit: Circuit, angles: np.ndarray) -> np.ndarray:
    """Which rows of angles are about where the optimizer stands, bool; a line fit's points are far away."""
    if state.growing:
        centre = np.zeros(circuit.n_parameters)
    elif state.piloting:
        centre = state.parameters
    else:
        stage = prepared.stage(state.operators)
        centre = np.asarray(stage.used(stage.optimizer.progress(state.optimizer).parameters))
    away = np.abs(angles - circuit.angles(centre[None, :]))
    return np.max(away, axis=1, initial=0.0) <= CENTRE_RADIUS


def shots_wanted(prepared: Prepared, state: LoopState) -> np.ndarray:
    """Shots of every point, shape (points,), or of its energy and derivatives, (points, 1 + d)."""
    if state.piloting:
        return np.array([float(pilot_shots(prepared))])
    stage = prepared.stage(state.operators)
    if prepared.chooses_shots and not state.growing:
        return np.asarray(stage.shots(state.optimizer))
    circuit, points = circuit_of(prepared, state), points_of(prepared, state)
    near = bool(near_centre(prepared, state, circuit, circuit.angles(points[:1]))[0])
    at_centre = centre_sigmas(prepared, state, std_error=prepared.asked_std_error)
    return np.full(len(points), float(energy_shots(prepared, at_centre if near else state.variances.sigmas)))


def gradient_designs(
    prepared: Prepared, state: LoopState, circuit: Circuit, points: np.ndarray
) -> list[GradientDesign]:
    """What is measured around each point for its gradient; the same for the same iteration."""
    rule = _shift_rule(prepared, state, circuit)
    how = gradient_of(prepared, circuit, rule) if not state.growing else Gradient("parameter_shift", "")
    rng = stream(prepared.spec.seed, Purpose.GRADIENT, state.iteration)
    return [design_of(how, circuit, rule, point, rng) for point in points]


def plan_energies(
    prepared: Prepared,
    circuit: Circuit,
    angles: np.ndarray,
    shots: np.ndarray,
    sigmas: np.ndarray,
    path: tuple[int, ...],
) -> ExecutionPlan:
    """Every group of the Hamiltonian at every row of angles.

    Args:
        shots: of each row, shape (rows,); never less than every group needs.
        sigmas: the groups' standard deviations, by which the shots are shared, shape (groups,) or
            (rows, groups).

    Raises:
        CannotRunError: a row would take more shots than an energy may have.
    """
    check_energy_shots(prepared, float(np.max(shots, initial=0)))
    points, groups = len(angles), len(prepared.grouping)
    totals = np.maximum(np.ceil(shots).astype(np.int64), prepared.shots_min)
    return ExecutionPlan(
        circuit,
        angles,
        prepared.grouping.bases,
        point=np.repeat(np.arange(points), groups),
        basis=np.tile(np.arange(groups), points),
        shots=allocate_all(totals, sigmas).ravel(),
        seed=(prepared.spec.seed, *path),
    )


def answer_from(prepared: Prepared, state: LoopState, measured: BatchResult) -> Answer:
    """What the outcome of `plan_iteration` says; several devices' energies are combined, not mixed."""
    plan = measured.parts[0][0]
    points, shots = points_of(prepared, state), shots_run(measured)
    if need_of(prepared, state) is Need.VALUE:
        estimates = objectives_of(prepared, measured)
        evaluation = _of_all_points(shots_wanted(prepared, state) > 0, estimates, shots)
    else:
        designs = gradient_designs(prepared, state, plan.circuit, points)
        estimates = objectives_of(prepared, measured, leaders_of(designs))
        evaluation = _with_gradients(designs, estimates, shots)
    fidelity = _fidelity(prepared, state, plan.circuit, points)
    near = np.flatnonzero(near_centre(prepared, state, plan.circuit, plan.angles))
    return Answer(
        evaluation,
        best_sample(prepared, measured),
        fidelity,
        len(plan.angles),
        measured.shots,
        measured.cost_micro_usd,
        state.variances.updated(measured.parts, prepared.grouping),
        state.centre_variances.updated(measured.parts, prepared.grouping, points=near)
        if len(near)
        else state.centre_variances,
    )


def _of_all_points(asked: np.ndarray, estimates: Estimates, shots: np.ndarray) -> Evaluation:
    """What was measured, with zeros at the points that were not asked for."""
    values, variances, run = (np.zeros(len(asked)) for _ in range(3))
    values[asked], variances[asked], run[asked] = estimates.means, estimates.variances, shots
    return Evaluation(jnp.asarray(values), jnp.asarray(variances), shots=jnp.asarray(run))


def _with_gradients(designs: list[GradientDesign], estimates: Estimates, shots: np.ndarray) -> Evaluation:
    ends = np.cumsum([len(design) for design in designs])
    parts = [slice(end - len(design), end) for end, design in zip(ends, designs, strict=True)]
    found = [
        design.combine(estimates.means[part], estimates.variances[part])
        for design, part in zip(designs, parts, strict=True)
    ]
    values, variances, gradients, gradient_variances = zip(*found, strict=True)
    spent = [shots[part] @ (design.weights != 0) for design, part in zip(designs, parts, strict=True)]
    return Evaluation(
        jnp.asarray(values),
        jnp.asarray(variances),
        jnp.asarray(np.array(gradients)),
        jnp.asarray(np.array(gradient_variances)),
        shots=jnp.asarray(np.array(spent, dtype=np.float64)),
    )


def shots_run(measured: BatchResult) -> np.ndarray:
    """Shots of every point over all devices, float64, shape (points,)."""
    return _shots_by_device(measured).sum(axis=0)


def _shots_by_device(measured: BatchResult) -> np.ndarray:
    """float64, shape (devices, points); circuits of equal shots bring more than was asked for."""
    rows = [(plan, np.maximum(plan.shots, outcome.shots)) for plan, outcome in measured.parts]
    return np.array([np.bincount(plan.point, shots, minlength=len(plan.angles)) for plan, shots in rows])


def estimates_of(prepared: Prepared, measured: BatchResult) -> Estimates:
    """Energies of every point, means over the devices where several measured them."""
    return combined_estimates(prepared, measured).estimates


def combined_estimates(prepared: Prepared, measured: BatchResult) -> Combination:
    """As `estimates_of`, and whether the devices agree."""
    treated = measured.mitigated or (None,) * len(measured.parts)
    each = [
        mitigated.estimates(prepared) if mitigated else estimate(plan, prepared.grouping, outcome)
        for (plan, outcome), mitigated in zip(measured.parts, treated, strict=True)
    ]
    return combine(each, _shots_by_device(measured))


def objectives_of(prepared: Prepared, measured: BatchResult, leaders: np.ndarray | None = None) -> Estimates:
    """What is minimised, at every point: the energies, or their CVaR (`leaders`: see `tail_estimates`)."""
    if prepared.tail is None:
        return estimates_of(prepared, measured)
    hamiltonian, alpha = prepared.problem.hamiltonian, prepared.tail
    each = [tail_estimates(plan, hamiltonian, outcome, alpha, leaders) for plan, outcome in measured.parts]
    return combine(each, _shots_by_device(measured)).estimates


def leaders_of(designs: list[GradientDesign]) -> np.ndarray:
    """Whose quantile each row of the designs takes: a point that is measured itself leads its shifts."""
    starts = np.cumsum([0, *(len(design) for design in designs)])
    return np.concatenate(
        [
            np.full(len(design), start) if design.weights[0, 0] == 1.0 else start + np.arange(len(design))
            for design, start in zip(designs, starts[:-1], strict=True)
        ]
    )


def best_sample(prepared: Prepared, measured: BatchResult) -> Sample | None:
    """The lowest of all basis states seen, the smallest state where they tie; None unless diagonal."""
    hamiltonian = prepared.problem.hamiltonian
    states = np.unique(np.concatenate([outcome.states for _, outcome in measured.parts]))
    if not hamiltonian.is_diagonal or not len(states):
        return None
    energies = hamiltonian.diagonal_at(states)
    at = int(np.argmin(energies))
    return Sample(float(energies[at]), int(states[at]))


def draw_candidates(
    prepared: Prepared, circuit: Circuit, points: np.ndarray, iteration: int
) -> Sample | None:
    """The best of CANDIDATE_SHOTS free samples at a point: how an exact run of a cut finds its cut."""
    plan = ExecutionPlan(
        circuit,
        circuit.angles(points),
        prepared.grouping.bases,
        point=np.zeros(1, dtype=np.int64),
        basis=np.zeros(1, dtype=np.int64),
        shots=np.array([CANDIDATE_SHOTS]),
        seed=(prepared.spec.seed, Purpose.CANDIDATES, iteration),
    )
    return best_sample(prepared, BatchResult.free(plan, prepared.device.sample(plan)))


def exact_energies(prepared: Prepared, circuit: Circuit, points: np.ndarray) -> np.ndarray:
    """Energies at parameter points, shape (points,)."""
    found = prepared.device.expectation(
        circuit, prepared.problem.hamiltonian, circuit.angles(points), gradient=False
    )
    return np.asarray(found.values)


def exact_tail(prepared: Prepared, circuit: Circuit, point: np.ndarray) -> float | None:
    """CVaR at a parameter point; None where the run minimises the mean."""
    if prepared.tail is None:
        return None
    angles = circuit.angles(point[None, :])
    found = tail_expectation(circuit, prepared.problem.hamiltonian, angles, prepared.tail, gradient=False)
    return float(found.values[0])


def fidelity_at(prepared: Prepared, circuit: Circuit, point: np.ndarray) -> float | None:
    """Weight of the prepared state on the exact ground space; None where that is not known."""
    reference = prepared.problem.reference
    if not prepared.fidelity_known or reference is None or reference.ground is None:
        return None
    return float(JaxDevice().fidelity(circuit, reference.ground, circuit.angles(point[None, :]))[0])


def _expectations(prepared: Prepared, circuit: Circuit, points: np.ndarray, need: Need) -> Evaluation:
    angles = circuit.angles(points)
    wanted = need is not Need.VALUE
    if prepared.tail is None:
        found = prepared.device.expectation(circuit, prepared.problem.observable, angles, gradient=wanted)
    else:
        hamiltonian = prepared.problem.hamiltonian
        found = tail_expectation(circuit, hamiltonian, angles, prepared.tail, gradient=wanted)
    gradients = None if found.gradients is None else jnp.asarray(found.gradients @ circuit.jacobian())
    metric = jnp.asarray(JaxDevice().metric(circuit, angles[:1])) if need is Need.METRIC else None
    return Evaluation(jnp.asarray(found.values), jnp.zeros(len(points)), gradients, None, metric)


def _shift_rule(prepared: Prepared, state: LoopState, circuit: Circuit) -> ShiftRule:
    return ShiftRule.of(circuit) if state.growing else prepared.stage(state.operators).shift_rule


def _fidelity(prepared: Prepared, state: LoopState, circuit: Circuit, points: np.ndarray) -> float | None:
    """Fidelity where the iteration stands: at its only point, or at the point that its points surround."""
    if len(points) == 1 or state.piloting:
        return fidelity_at(prepared, circuit, points[0])
    stage = prepared.stage(state.operators)
    around = stage.used(stage.optimizer.progress(state.optimizer).parameters)
    return fidelity_at(prepared, circuit, np.asarray(around))
