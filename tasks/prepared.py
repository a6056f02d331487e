"""Everything that a loop needs of its spec."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np

from backends import ExactDevice
from backends.fleet import Fleet
from measurement import (
    SHOTS_PER_GROUP_MIN,
    Fees,
    Grouping,
    GroupVariances,
    MeasurementCost,
    ShiftRule,
    shots_for,
)
from optimizers import Sampling, needs_sampling
from problems import Ansatz, Problem, grow
from shotwise.rng import Purpose, stream
from shotwise.spec import (
    AdaptAnsatz,
    CvarObjective,
    MoleculeSpec,
    OptimizerSpec,
    RunSpec,
    ShotsExecution,
)
from tasks.measurement_basis import (
    MeasurementBasis,
    asked_std_error,
    fees,
    last_energy,
    measurement_basis,
    mixed_deviation,
    optimization,
    two_qubit_error,
    whole_run,
)
from tasks.stage import Stage, build_stage

_FIRST_OF_BUDGET = 0.25
"""An optimizer that chooses its shots may give this share of the run's budget to its first iteration."""
FIDELITY_QUBITS_MAX = 14
"""Above this a fidelity beside every sampled iteration would cost more than the iteration."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """A spec made ready to run: what to minimise, with what circuit, moved by what, on what device."""

    spec: RunSpec
    problem: Problem
    ansatz: Ansatz
    device: ExactDevice
    fleet: Fleet | None = None
    grouping_kind: str | None = None
    """The grouping that the run began with; None to choose."""
    final_grouping_kind: str | None = None
    """The grouping that its final evaluation is to have; None to choose."""
    is_last: bool = False
    """Whether what is left to measure is the final evaluation: see `at_end`."""

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

    @property
    def shots_min(self) -> int:
        """The least that any energy takes."""
        return SHOTS_PER_GROUP_MIN * len(self.grouping)

    @property
    def needs_pilot(self) -> bool:
        """Whether a target error must be turned into shots before the optimizer's first question."""
        return self.sampled and self.shots_execution.shots is None and not self.chooses_shots

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
    def fees(self) -> Fees:
        """Of jobs and circuits, in shots."""
        return fees(self.fleet)

    @cached_property
    def measurement(self) -> MeasurementBasis:
        circuit = self.ansatz.circuit
        if not self.sampled:
            return measurement_basis(self.problem, circuit, "qubit_wise", MeasurementCost(1.0))
        kind = self.grouping_kind or self.shots_execution.grouping
        if kind == "auto" and self.shots_execution.mitigation != "none":
            kind = (
                "qubit_wise"  # symmetries are read beside single-qubit Paulis, not behind entangling changes
            )
        excitations = None if self.is_last else _first_excitations(self)
        costs = self._costs() if kind == "auto" else MeasurementCost(self.asked_std_error)
        return measurement_basis(self.problem, circuit, kind, costs, excitations)

    def _costs(self) -> MeasurementCost:
        """Of what is measured in this grouping: where shots are chosen, the last energy may have another."""
        known = self.asked_std_error, self.fees, two_qubit_error(self.fleet)
        if self.is_last:
            return last_energy(*known)
        parameters = self.ansatz.circuit.n_parameters
        if self._ends_apart:
            return optimization(*known, parameters, mixed_deviation(self.problem))
        return whole_run(*known, parameters)

    @property
    def _ends_apart(self) -> bool:
        """Whether the final evaluation may have a grouping of its own: it takes other shots than the rest."""
        return self.chooses_shots and self.shots_execution.shots is None

    def measured_in(self, kind: str | None, final_kind: str | None = None) -> Prepared:
        """The same, measuring in the groupings that the run began with."""
        same = kind in (None, self.grouping.kind) and final_kind in (None, self.at_end.grouping.kind)
        return self if same else replace(self, grouping_kind=kind, final_grouping_kind=final_kind)

    @cached_property
    def at_end(self) -> Prepared:
        """The same for the final evaluation, in the grouping that costs least for that alone."""
        if not self.sampled or self.is_last or not self._ends_apart:
            return self
        last = replace(self, grouping_kind=self.final_grouping_kind, is_last=True)
        return self if last.grouping.kind == self.grouping.kind else last

    @property
    def grouping(self) -> Grouping:
        return self.measurement.grouping

    @property
    def prior_variances(self) -> GroupVariances:
        """The groups' prior variances where the run starts, from before any shot."""
        return self.measurement.prior

    @property
    def shifted_prior_variances(self) -> GroupVariances:
        """The same where an optimizer looks first around the start."""
        return self.measurement.shifted_prior

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


@lru_cache(maxsize=8)
def _stage(prepared: Prepared, operators: tuple[int, ...]) -> Stage:
    circuit, ansatz = prepared.ansatz.circuit, prepared.spec.ansatz
    for operator in operators:
        circuit = grow(circuit, (prepared.ansatz.pool or ())[operator])
    if prepared.sampled:
        return build_stage(circuit, prepared.optimizer_spec, sampling=_sampling(prepared))
    most = ansatz.operators_max if isinstance(ansatz, AdaptAnsatz) else None
    return build_stage(circuit, prepared.optimizer_spec, parameters_max=most)


def _sampling(prepared: Prepared) -> Sampling:
    groups, fees = len(prepared.grouping), prepared.fees
    from_determinant = _starts_at_determinant(prepared)
    return Sampling(
        shots_min=2 * prepared.shots_min,
        shots_a_job=fees.shots_a_job,
        points_a_job=fees.circuits_a_job / groups,
        shots_first_max=_FIRST_OF_BUDGET * _affordable(prepared),
        shots_a_point=fees.shots_a_circuit * groups,
        gradient_points=1 + len(ShiftRule.of(prepared.ansatz.circuit)),
        resolution=prepared.asked_std_error,
        # one digit, so that geometries nearby share what is compiled
        variance=float(f"{prepared.shifted_prior_variances.sigmas.sum() ** 2:.0e}"),
        from_determinant=from_determinant,
        flat=_flat_at_start(prepared) if from_determinant else (),
    )


def _affordable(prepared: Prepared) -> float:
    """Shots that the run's own budget has room for, fees aside; infinite where nothing limits them."""
    budget, usd = prepared.spec.budget, prepared.fees.usd_a_shot
    by_shots = math.inf if budget.shots is None else budget.shots
    return min(by_shots, math.inf if budget.usd is None or not usd else budget.usd / usd)


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


def _first_excitations(prepared: Prepared) -> np.ndarray | None:
    """Masks of the excitations whose slopes are measured first; None where the start is no determinant."""
    circuit = prepared.ansatz.circuit
    if not (prepared.chooses_shots and _starts_at_determinant(prepared)):
        return None
    return np.unique(circuit.x[~np.isin(circuit.parameter, _flat_at_start(prepared))])


def _flat_at_start(prepared: Prepared) -> tuple[int, ...]:
    """The parameters of single excitations, where the start is a closed shell's own Hartree-Fock determinant.

    Such a determinant is stationary under them (Brillouin's theorem). () where there are no others.
    """
    problem, circuit = prepared.spec.problem, prepared.ansatz.circuit
    if not isinstance(problem, MoleculeSpec) or problem.spin != 0:
        return ()
    singles = circuit.parameter[np.bitwise_count(circuit.x) == 2]
    return tuple(sorted(singles.tolist())) if len(singles) < circuit.n_parameters else ()
