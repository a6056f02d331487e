"""What a sampled run measures in, how exact it shall be, and what fees that takes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from backends.calibration import Calibration
from backends.catalog import fees_of
from backends.fleet import Fleet
from backends.provider import ProviderUnavailable
from measurement import (
    NO_FEES,
    Fees,
    Grouping,
    GroupVariances,
    MeasurementCost,
    choose_grouping,
    halfway_variances,
    prior_variances,
    qubit_wise_commuting,
)
from problems import Circuit, Problem
from shotwise.errors import CannotRunError
from shotwise.spec import ShotsExecution

CHEMICAL_ACCURACY = 1.6e-3
"""Hartree; what a molecule's energy is asked for where the spec says nothing."""
RELATIVE_ACCURACY = 0.01
"""Of the energy's standard deviation in the mixed state, likewise for other problems."""
BATCHES = 5
"""Batches that a whole run is assumed to measure before the last energy, to weigh its fees ..."""
ENERGIES_A_PARAMETER = 2
"""... each of so many energies per parameter."""


@dataclass(frozen=True, eq=False)
class MeasurementBasis:
    """How energies are measured.

    Attributes:
        grouping: the groups.
        prior: their variances at the start, before any shot.
        shifted_prior: the same where an optimizer looks first around it.
    """

    grouping: Grouping
    prior: GroupVariances
    shifted_prior: GroupVariances


def measurement_basis(
    problem: Problem,
    circuit: Circuit,
    kind: str,
    costs: MeasurementCost,
    excitations: np.ndarray | None = None,
) -> MeasurementBasis:
    """The grouping of that kind; for "auto" the one that costs least.

    Args:
        excitations: of the circuit's basis state, halfway to which an optimizer looks first; if it does.
    """
    hamiltonian, start = problem.hamiltonian, _start_of(problem, circuit)
    grouping = choose_grouping(hamiltonian, start, costs, kind, excitations=excitations)
    prior = prior_variances(grouping, hamiltonian, start)
    shifted = prior
    if start is not None and excitations is not None:
        shifted = halfway_variances(grouping, hamiltonian, start, excitations)
    return MeasurementBasis(grouping, GroupVariances.prior(prior), GroupVariances.prior(shifted))


def whole_run(std_error: float, fees: Fees, two_qubit_error: float, parameters: int) -> MeasurementCost:
    """All that a run measures: the last energy at the error asked for, and about as many shots before."""
    batches = (ENERGIES_A_PARAMETER * parameters,) * BATCHES
    return MeasurementCost(std_error, fees, two_qubit_error, (*batches, 1), 2.0 / std_error**2)


def optimization(
    std_error: float, fees: Fees, two_qubit_error: float, parameters: int, deviation: float
) -> MeasurementCost:
    """What is measured before the last energy, by an optimizer that chooses its shots.

    Noise in d parameters, each with a d-th of n shots, costs about d^2 V / (2 h n) of energy. With curvatures
    h of half the `mixed_deviation`, d^2 V / (deviation std_error) shots bring it down to the error asked for.
    """
    batches = (ENERGIES_A_PARAMETER * parameters,) * BATCHES
    precision = parameters**2 / (deviation * std_error)
    return MeasurementCost(std_error, fees, two_qubit_error, batches, precision)


def last_energy(std_error: float, fees: Fees, two_qubit_error: float) -> MeasurementCost:
    """The final evaluation alone."""
    return MeasurementCost(std_error, fees, two_qubit_error)


def mixed_deviation(problem: Problem) -> float:
    """The energy's standard deviation in the maximally mixed state, which tells its scale."""
    return math.sqrt(float(np.sum(problem.hamiltonian.without_constant().coefficients ** 2)))


def asked_std_error(execution: ShotsExecution, problem: Problem, circuit: Circuit) -> float:
    """The standard error that the run's energy shall have: as said, or what the shots that are said bring."""
    hamiltonian = problem.hamiltonian
    if execution.target_std_error is not None:
        return execution.target_std_error
    if execution.shots is not None:
        qubit_wise = qubit_wise_commuting(hamiltonian)
        sigmas = np.sqrt(prior_variances(qubit_wise, hamiltonian, _start_of(problem, circuit)))
        return float(sigmas.sum()) / math.sqrt(execution.shots)
    if problem.unit == "Ha":
        return CHEMICAL_ACCURACY
    return RELATIVE_ACCURACY * mixed_deviation(problem)


def _start_of(problem: Problem, circuit: Circuit) -> int | None:
    """The basis state near which variances are taken; None where the run leaves it, as for a diagonal cost:
    in any basis state that has no variance, wherever the run begins."""
    return None if problem.hamiltonian.is_diagonal else circuit.basis_state


def fees(fleet: Fleet | None) -> Fees:
    """Of jobs and circuits where those of a full job are least."""
    offered = [fees_of(fleet.description(name)) for name in fleet.names] if fleet else []
    return min(offered, key=lambda fees: fees.of(fees.circuits_a_job) / fees.circuits_a_job, default=NO_FEES)


def two_qubit_error(fleet: Fleet | None) -> float:
    """Median two-qubit error of the fleet's worst device; 1 where a device keeps it to itself."""
    if fleet is None:
        return 0.0
    return max((_median_error(fleet, name) for name in fleet.names), default=0.0)


def _median_error(fleet: Fleet, name: str) -> float:
    if fleet.description(name).calibration == "none":
        return 0.0
    try:
        calibration: Calibration | None = fleet.calibration(name)
    except (ProviderUnavailable, CannotRunError):
        return 1.0
    errors = [] if calibration is None else [error for _, error in calibration.two_qubit_error]
    return float(np.median(errors)) if errors else 1.0
