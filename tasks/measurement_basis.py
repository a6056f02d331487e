"""What a sampled run measures in, how exact it shall be, and what a circuit costs there."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from backends.calibration import Calibration
from backends.fleet import Fleet
from backends.provider import ProviderUnavailable
from measurement import (
    Grouping,
    GroupVariances,
    MeasurementCost,
    choose_grouping,
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
ENERGIES_A_PARAMETER = 10
"""Energies per parameter that a whole run is assumed to measure, to amortise circuit fees."""
_SHOTS_OF_A_FEE_MAX = 1e6


@dataclass(frozen=True, eq=False)
class MeasurementBasis:
    """How energies are measured: the groups, and their prior variances."""

    grouping: Grouping
    prior: GroupVariances


def measurement_basis(
    problem: Problem, circuit: Circuit, kind: str, costs: MeasurementCost
) -> MeasurementBasis:
    """The grouping of that kind; for "auto" the one that costs least."""
    hamiltonian, start = problem.hamiltonian, _start_of(problem, circuit)
    grouping = choose_grouping(hamiltonian, start, costs, kind)
    return MeasurementBasis(grouping, GroupVariances.prior(prior_variances(grouping, hamiltonian, start)))


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
    return RELATIVE_ACCURACY * float(np.sqrt(np.sum(hamiltonian.without_constant().coefficients ** 2)))


def _start_of(problem: Problem, circuit: Circuit) -> int | None:
    """The basis state near which variances are taken; None where the run leaves it, as for a diagonal cost:
    in any basis state that has no variance, wherever the run begins."""
    return None if problem.hamiltonian.is_diagonal else circuit.basis_state


def shots_a_circuit(fleet: Fleet | None) -> float:
    """The fee of a circuit, as the number of shots that the same money buys, where that is least."""
    if fleet is None:
        return 0.0
    prices = [fleet.description(name).price for name in fleet.names]
    fees = [
        min(float(price.per_task_usd / price.per_shot_usd), _SHOTS_OF_A_FEE_MAX)
        for price in prices
        if price.per_shot_usd
    ]
    return min(fees, default=0.0)


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
