"""From a spec to everything a loop needs, built once a process."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache, partial

import jax
import numpy as np

from backends import DEVICE_NAMES, Device, open_device
from backends.fleet import Fleet, Trust, fleet_names
from backends.jax_device import JaxDevice
from measurement import SHOTS_PER_GROUP_MIN, Grouping, GroupVariances, ShiftRule, Terms, shots_for
from optimizers import (
    Evaluation,
    Frequencies,
    Need,
    Optimizer,
    Sampling,
    Termination,
    build_optimizer,
    build_termination,
    needs_sampling,
    needs_spectrum,
)
from problems import Ansatz, Circuit, Problem, build_ansatz, build_problem, grow, spectrum
from shotwise.errors import CannotRunError, SpecError
from shotwise.home import Home
from shotwise.rng import Purpose, stream
from shotwise.spec import (
    SHOT_CHOOSERS,
    AdaptAnsatz,
    CvarObjective,
    OptimizerSpec,
    RunSpec,
    ShotsExecution,
)
from tasks.fleet import open_fleet
from tasks.mitigation import check as check_mitigation
from tasks.sampling import (
    ENERGIES_A_PARAMETER,
    MeasurementBasis,
    asked_std_error,
    measurement_basis,
    shots_a_circuit,
    shots_min,
    two_qubit_error,
)

FIDELITY_QUBITS_MAX = 14
"""Above this a fidelity beside every sampled iteration would cost more than the iteration."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """A spec made ready to run: what to minimise, with what circuit, moved by what, on what device."""

    spec: RunSpec
    problem: Problem
    ansatz: Ansatz
    device: Device
    fleet: Fleet | None = None
    grouping_kind: str | None = None
    """The grouping that the run began with; None to choose."""

    @property
    def policy(self) -> str:
        """How batches are routed: the spec's policy, or its one device."""
        execution = self.shots_execution
        return execution.policy or f"single:{execution.device}"

    @property
    def shots_execution(self) -> ShotsExecution:
        """How a sampled run executes."""
        execution = self.spec.execution
        assert isinstance(execution, ShotsExecution), "only sampled runs have shots"
        return execution

    @cached_property
    def optimizer_spec(self) -> OptimizerSpec:
        """The spec's optimizer, `auto` resolved."""
        if self.spec.optimizer.name != "auto":
            return self.spec.optimizer
        adaptive = self.sampled and self.shots_execution.adaptive and self.ansatz.pool is None
        return self.spec.optimizer.model_copy(update={"name": "bayes_newton" if adaptive else "adam"})

    @property
    def chooses_shots(self) -> bool:
        """Whether the optimizer sets the shots of every iteration."""
        return needs_sampling(self.optimizer_spec.name)

    @property
    def fleet_names(self) -> tuple[str, ...]:
        return self.fleet.names if self.fleet else ()

    @property
    def sampled(self) -> bool:
        return isinstance(self.spec.execution, ShotsExecution)

    @cached_property
    def asked_std_error(self) -> float:
        """The standard error that the final energy shall have, in the problem's unit."""
        return asked_std_error(self.shots_execution, self.problem, self.ansatz.circuit)

    @property
    def tail(self) -> float | None:
        """The share alpha of samples whose mean is minimised (CVaR); None where all samples are."""
        objective = self.spec.objective
        return objective.alpha if isinstance(objective, CvarObjective) else None

    @property
    def shots_per_evaluation(self) -> int:
        """Shots of one energy evaluation before anything was measured; 0 where energies are exact."""
        if not self.sampled:
            return 0
        return self.shots_execution.shots or shots_for(self.asked_std_error, self.prior_variances.sigmas)

    @property
    def iterations_max(self) -> int:
        """The most iterations that the run can have; an adaptive ansatz moves anew after every growth."""
        iterations, ansatz = self.spec.optimizer.max_iterations, self.spec.ansatz
        return (
            iterations if not isinstance(ansatz, AdaptAnsatz) else (iterations + 1) * ansatz.operators_max + 1
        )

    @cached_property
    def shots_a_circuit(self) -> float:
        """What a circuit costs before its first shot, in shots' worth of money."""
        return shots_a_circuit(self.fleet)

    @cached_property
    def measurement(self) -> MeasurementBasis:
        if not self.sampled:
            return measurement_basis(self.problem, self.ansatz.circuit, "qubit_wise", Terms(1.0))
        kind = self.grouping_kind or self.shots_execution.grouping
        if kind == "auto" and self.shots_execution.mitigation != "none":
            kind = "qubit_wise"  # symmetries are read beside letters, not behind entangling changes
        terms = Terms(self.asked_std_error)
        if kind == "auto":
            terms = Terms(
                self.asked_std_error,
                self.shots_a_circuit,
                two_qubit_error(self.fleet),
                1.0 + ENERGIES_A_PARAMETER * self.ansatz.circuit.n_parameters,
            )
        return measurement_basis(self.problem, self.ansatz.circuit, kind, terms)

    def measured_in(self, kind: str | None) -> Prepared:
        """The same, measuring in the grouping that the run began with."""
        return self if kind in (None, self.grouping.kind) else replace(self, grouping_kind=kind)

    @property
    def grouping(self) -> Grouping:
        return self.measurement.grouping

    @property
    def prior_variances(self) -> GroupVariances:
        """What is thought of the groups' scatter before any shot."""
        return self.measurement.prior

    @property
    def initial_parameters(self) -> np.ndarray:
        seed = stream(self.spec.seed, Purpose.INITIAL_PARAMETERS).integers(2**63)
        return self.ansatz.initial_parameters(int(seed))

    def stage(self, operators: tuple[int, ...] = ()) -> Stage:
        """The circuit after an adaptive ansatz has grown `operators` of its pool; () for a fixed one."""
        return _stage(self, operators)

    @property
    def fidelity_known(self) -> bool:
        reference = self.problem.reference
        affordable = self.problem.n_qubits <= FIDELITY_QUBITS_MAX or not self.sampled
        return affordable and reference is not None and reference.ground is not None


@dataclass(frozen=True, eq=False)
class Stage:
    """A circuit with the optimizer that moves its parameters. A fixed ansatz has one stage.

    The optimizer of an adaptive ansatz moves `capacity` parameters, of which the last ones have no effect:
    its shapes stay the same while the circuit grows, so nothing compiles anew.
    """

    circuit: Circuit
    optimizer: Optimizer
    termination: Termination
    capacity: int

    @cached_property
    def shift_rule(self) -> ShiftRule:
        return ShiftRule.of(self.circuit)

    @property
    def energies_per_iteration(self) -> int:
        """Energy evaluations of one sampled iteration, parameter shifts included."""
        points = self.optimizer.points_per_ask
        return points if self.optimizer.need is Need.VALUE else points * (1 + len(self.shift_rule))

    @cached_property
    def shots(self):
        """The shots that the optimizer wants for the points of `ask`."""
        return jax.jit(self.optimizer.shots)

    def ask(self, optimizer_state):
        """The points to evaluate next, shape (points, parameters)."""
        return _ask(self.optimizer, optimizer_state)[:, : self.circuit.n_parameters]

    def tell(self, optimizer_state, termination_state, evaluation: Evaluation):
        """(optimizer state, termination state, progress, code) after an evaluation of those points."""
        unused = self.capacity - self.circuit.n_parameters
        padded = _widened(evaluation, unused) if unused else evaluation
        told, watched, progress, code = _tell(
            self.optimizer, self.termination, optimizer_state, termination_state, padded
        )
        return told, watched, progress._replace(parameters=self.used(progress.parameters)), code

    def used(self, parameters):
        """Of the optimizer's parameters, those that the circuit has."""
        return parameters[: self.circuit.n_parameters]

    def start(self, parameters: np.ndarray, seed: int):
        """The optimizer's and the termination rule's states at `parameters`."""
        padded = np.pad(parameters, (0, self.capacity - len(parameters)))
        entropy = int(stream(seed, Purpose.OPTIMIZER).integers(2**31))
        return _start(self.optimizer, self.termination, padded, entropy)


@partial(jax.jit, static_argnames=("optimizer", "termination"))
def _start(optimizer: Optimizer, termination: Termination, parameters, seed):
    return optimizer.init(parameters, jax.random.PRNGKey(seed)), termination.init()


@partial(jax.jit, static_argnames="optimizer")
def _ask(optimizer: Optimizer, state):
    return optimizer.ask(state)


@partial(jax.jit, static_argnames=("optimizer", "termination"))
def _tell(optimizer: Optimizer, termination: Termination, state, watching, evaluation: Evaluation):
    return told(optimizer, termination, state, watching, evaluation)


def told(optimizer: Optimizer, termination: Termination, state, watching, evaluation: Evaluation):
    """(optimizer state, termination state, progress, code) after an evaluation; traceable."""
    state = optimizer.tell(state, evaluation)
    progress = optimizer.progress(state)
    watching = termination.update(watching, progress)
    return state, watching, progress, termination.code(watching)


def _widened(evaluation: Evaluation, unused: int) -> Evaluation:
    """The same with zeros for parameters that the circuit does not have."""

    def pad(array, rows: int):
        return None if array is None else jax.numpy.pad(array, ((0, rows), (0, unused)))

    return evaluation._replace(
        gradients=pad(evaluation.gradients, 0),
        gradient_variances=pad(evaluation.gradient_variances, 0),
        metric=pad(evaluation.metric, unused),
    )


def prepare(spec: RunSpec) -> Prepared:
    """Build the problem, its ansatz and reference, and open the device; once a process for equal specs.

    Raises:
        SpecError: the spec says something that cannot be meant.
        CannotRunError: it cannot be run here: too large, no such device, or no budget for one step.
    """
    return _prepare(spec.canonical_json())


@lru_cache(maxsize=4)
def _prepare(canonical_json: str) -> Prepared:
    spec = RunSpec.model_validate_json(canonical_json)
    fleet = _fleet(spec)
    device = open_device("jax" if fleet else spec.execution.device)
    home = Home.from_environment()
    problem = build_problem(spec.problem, home.molecules if home.root.exists() else None)
    prepared = Prepared(spec, problem, build_ansatz(spec.ansatz, problem), device, fleet)
    _check_device(prepared)
    if prepared.sampled:
        _check_shots(prepared)
        check_mitigation(prepared)
    prepared.stage()
    return prepared


def _fleet(spec: RunSpec) -> Fleet | None:
    """The devices to route over; None for the simulators that are called directly and cost nothing."""
    execution = spec.execution
    if not isinstance(execution, ShotsExecution):
        return None
    if execution.policy is None and execution.device in DEVICE_NAMES:
        return None
    names = fleet_names(execution.devices) if execution.policy else (execution.device,)
    trust = Trust(execution.stale_after_s, execution.allow_bad_calibration)
    fleet = open_fleet(names, trust)
    for name in names:
        fleet.description(name)
    return fleet


@lru_cache(maxsize=8)
def _stage(prepared: Prepared, operators: tuple[int, ...]) -> Stage:
    circuit = prepared.ansatz.circuit
    for operator in operators:
        circuit = grow(circuit, (prepared.ansatz.pool or ())[operator])
    frequencies = None
    if needs_spectrum(prepared.optimizer_spec.name):
        frequencies = tuple(Frequencies(*pair) for pair in spectrum(circuit))
    optimizer, termination = _movement(prepared, frequencies)
    if optimizer.need is Need.METRIC and (prepared.sampled or not prepared.device.capabilities.metric):
        raise SpecError(
            "optimizer.name",
            prepared.optimizer_spec.name,
            "natural gradients need exact metrics",
            "use execution {mode: exact, device: jax}",
        )
    capacity = circuit.n_parameters
    ansatz = prepared.spec.ansatz
    if isinstance(ansatz, AdaptAnsatz) and not prepared.sampled and frequencies is None:
        capacity = ansatz.operators_max
    return Stage(circuit, optimizer, termination, capacity)


def _movement(
    prepared: Prepared, frequencies: tuple[Frequencies, ...] | None
) -> tuple[Optimizer, Termination]:
    sampling = _sampling(prepared) if prepared.sampled else None
    return _movement_of(prepared.optimizer_spec.model_dump_json(), frequencies, sampling)


@lru_cache(maxsize=16)
def _movement_of(
    spec_json: str, frequencies: tuple[Frequencies, ...] | None, sampling: Sampling | None
) -> tuple[Optimizer, Termination]:
    """One for all stages and runs that can share it: what is compiled for one serves the next."""
    spec = OptimizerSpec.model_validate_json(spec_json)
    optimizer = build_optimizer(spec, frequencies, sampling)
    return optimizer, build_termination(spec, optimizer)


def _sampling(prepared: Prepared) -> Sampling:
    groups = len(prepared.grouping)
    return Sampling(
        shots_min=2 * shots_min(prepared),
        shots_a_point=groups * prepared.shots_a_circuit,
        resolution=prepared.asked_std_error,
        # one digit, so that geometries nearby share what is compiled
        variance=float(f"{prepared.prior_variances.sigmas.sum() ** 2:.0e}"),
        from_determinant=_starts_at_determinant(prepared),
    )


def _starts_at_determinant(prepared: Prepared) -> bool:
    """Whether the first point is one determinant, and every parameter that of one excitation, unscaled."""
    circuit, used = prepared.ansatz.circuit, prepared.ansatz.circuit.parameter
    return (
        not isinstance(prepared.spec.ansatz, AdaptAnsatz)
        and not circuit.initial_plus
        and bool(np.all(circuit.excitation) and np.all(np.abs(circuit.scale) == 1.0))
        and np.array_equal(np.sort(used), np.arange(circuit.n_parameters))
        and not np.any(prepared.initial_parameters)
    )


def _check_device(prepared: Prepared) -> None:
    capabilities, n_qubits = prepared.device.capabilities, prepared.problem.n_qubits
    if n_qubits > capabilities.n_qubits_max:
        raise CannotRunError(
            "problem",
            f"{n_qubits} qubits",
            f"device {prepared.device.name} takes at most {capabilities.n_qubits_max}",
            "use an active space or fewer nodes",
        )
    observable = None if prepared.sampled else prepared.problem.observable
    JaxDevice().check_fits(prepared.ansatz.circuit, observable)


def _check_shots(prepared: Prepared) -> None:
    if prepared.shots_execution.adaptive and not prepared.chooses_shots and prepared.ansatz.pool is None:
        raise SpecError(
            "optimizer.name",
            prepared.optimizer_spec.name,
            "does not choose its shots, the spec asks for adaptive ones",
            f"use auto, {', '.join(SHOT_CHOOSERS[:-1])} or {SHOT_CHOOSERS[-1]}, or a fixed number of shots",
        )
    shots, groups = prepared.shots_per_evaluation, len(prepared.grouping)
    least = SHOTS_PER_GROUP_MIN * groups
    if shots < least:
        raise SpecError(
            "execution.shots", shots, f"too few for {groups} measurement groups", f"use at least {least}"
        )
    if prepared.fleet is not None:
        return
    limit = prepared.spec.budget.shots
    adaptive = isinstance(prepared.spec.ansatz, AdaptAnsatz)
    energies = 1 if adaptive else prepared.stage().energies_per_iteration
    each = shots_min(prepared) if prepared.chooses_shots else shots
    need = shots + each * energies
    if limit is not None and need > limit:
        raise CannotRunError(
            "budget.shots",
            limit,
            f"one iteration and the final evaluation take {need} shots",
            "raise it or lower execution.shots",
        )
