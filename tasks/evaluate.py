"""The quantum half of an iteration: what to run, and what the answers say. Knows nothing of Prefect."""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

from backends.jax_device import JaxDevice
from measurement import Estimates, ExecutionPlan, Outcome, ShiftRule, combine, estimate
from optimizers import Evaluation, Need
from problems import Circuit, grow
from shotwise.rng import Purpose
from tasks.prepare import Prepared
from tasks.state import LoopState, Sample

CANDIDATES_EVERY = 10
CANDIDATE_SHOTS = 1000
"""Where energies are exact, candidate solutions are drawn this often and this many."""


@dataclass(frozen=True, eq=False)
class Answer:
    """What one iteration learned.

    Attributes:
        evaluation: for the optimizer; where the ansatz grows, its gradient is that of the pool.
        sample: the best basis state seen, for diagonal problems.
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


@dataclass(frozen=True, eq=False)
class Measured:
    """What a plan brought: a (plan, outcome) for every device that shared its shots, and what all cost."""

    parts: tuple[tuple[ExecutionPlan, Outcome], ...]
    shots: int
    cost_micro_usd: int

    @classmethod
    def free(cls, plan: ExecutionPlan, outcome: Outcome) -> Measured:
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
    circuit = circuit.frozen(state.parameters)
    for operator in prepared.ansatz.pool or ():
        circuit = grow(circuit, operator)
    return circuit


def points_of(prepared: Prepared, state: LoopState) -> np.ndarray:
    """The parameter points that the next iteration evaluates, shape (points, parameters)."""
    if state.growing:
        return np.zeros((1, len(prepared.ansatz.pool or ())))
    return np.asarray(prepared.stage(state.operators).ask(state.optimizer))


def need_of(prepared: Prepared, state: LoopState) -> Need:
    """What the next iteration wants to know at its points."""
    return Need.GRADIENT if state.growing else prepared.stage(state.operators).optimizer.need


def answer_exactly(prepared: Prepared, state: LoopState) -> Answer:
    """Evaluate the next iteration's points without sampling noise."""
    circuit, points, need = circuit_of(prepared, state), points_of(prepared, state), need_of(prepared, state)
    evaluation = _expectations(prepared, circuit, points, need)
    draw = prepared.problem.hamiltonian.is_diagonal and state.iteration % CANDIDATES_EVERY == 0
    sample = draw_candidates(prepared, circuit, points[:1], state.iteration) if draw else None
    return Answer(evaluation, sample, _fidelity(prepared, state, circuit, points), len(points), 0)


def plan_iteration(prepared: Prepared, state: LoopState) -> ExecutionPlan:
    """The circuits of the next sampled iteration, parameter shifts included, as one batch."""
    circuit = circuit_of(prepared, state)
    angles = circuit.angles(points_of(prepared, state))
    if need_of(prepared, state) is not Need.VALUE:
        angles = _shift_rule(prepared, state, circuit).expand(angles)
    return plan_energies(prepared, circuit, angles, (Purpose.MEASUREMENT, state.iteration))


def plan_energies(
    prepared: Prepared, circuit: Circuit, angles: np.ndarray, path: tuple[int, ...]
) -> ExecutionPlan:
    """Every group of the Hamiltonian at every row of angles, with its share of the shots."""
    points, groups = len(angles), len(prepared.grouping)
    return ExecutionPlan(
        circuit,
        angles,
        prepared.grouping.bases,
        point=np.repeat(np.arange(points), groups),
        basis=np.tile(np.arange(groups), points),
        shots=np.tile(prepared.group_shots, points),
        seed=(prepared.spec.seed, *path),
    )


def answer_from(prepared: Prepared, state: LoopState, measured: Measured) -> Answer:
    """What the outcome of `plan_iteration` says; several devices' energies are combined, not mixed."""
    plan = measured.parts[0][0]
    estimates = estimates_of(prepared, measured)
    values, variances, gradients, gradient_variances = estimates.means, estimates.variances, None, None
    if need_of(prepared, state) is not Need.VALUE:
        rule = _shift_rule(prepared, state, plan.circuit)
        values, variances, gradients, gradient_variances = rule.combine(values, variances)
    evaluation = Evaluation(
        jnp.asarray(values),
        jnp.asarray(variances),
        None if gradients is None else jnp.asarray(gradients),
        None if gradient_variances is None else jnp.asarray(gradient_variances),
    )
    fidelity = _fidelity(prepared, state, plan.circuit, points_of(prepared, state))
    return Answer(
        evaluation,
        best_sample(prepared, measured),
        fidelity,
        len(plan.angles),
        measured.shots,
        measured.cost_micro_usd,
    )


def estimates_of(prepared: Prepared, measured: Measured) -> Estimates:
    """Energies of every point, by inverse variance where several devices measured them."""
    each = [estimate(plan, prepared.grouping, outcome) for plan, outcome in measured.parts]
    return each[0] if len(each) == 1 else combine(each).estimates


def best_sample(prepared: Prepared, measured: Measured) -> Sample | None:
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
    return best_sample(prepared, Measured.free(plan, prepared.device.sample(plan)))


def exact_energies(prepared: Prepared, circuit: Circuit, points: np.ndarray) -> np.ndarray:
    """Energies at parameter points, shape (points,)."""
    return np.asarray(_expectations(prepared, circuit, points, Need.VALUE).values)


def fidelity_at(prepared: Prepared, circuit: Circuit, point: np.ndarray) -> float | None:
    """Weight of the prepared state on the exact ground space; None where that is not known."""
    reference = prepared.problem.reference
    if not prepared.fidelity_known or reference is None or reference.ground is None:
        return None
    return float(JaxDevice().fidelity(circuit, reference.ground, circuit.angles(point[None, :]))[0])


def _expectations(prepared: Prepared, circuit: Circuit, points: np.ndarray, need: Need) -> Evaluation:
    angles = circuit.angles(points)
    wanted = need is not Need.VALUE
    found = prepared.device.expectation(circuit, prepared.problem.hamiltonian, angles, gradient=wanted)
    gradients = None if found.gradients is None else jnp.asarray(found.gradients @ circuit.jacobian())
    metric = jnp.asarray(JaxDevice().metric(circuit, angles[:1])) if need is Need.METRIC else None
    return Evaluation(jnp.asarray(found.values), jnp.zeros(len(points)), gradients, None, metric)


def _shift_rule(prepared: Prepared, state: LoopState, circuit: Circuit) -> ShiftRule:
    return ShiftRule.of(circuit) if state.growing else prepared.stage(state.operators).shift_rule


def _fidelity(prepared: Prepared, state: LoopState, circuit: Circuit, points: np.ndarray) -> float | None:
    """Fidelity where the iteration stands: at its only point, or at the point that its points surround."""
    if len(points) == 1:
        return fidelity_at(prepared, circuit, points[0])
    stage = prepared.stage(state.operators)
    return fidelity_at(prepared, circuit, np.asarray(stage.optimizer.progress(state.optimizer).parameters))
