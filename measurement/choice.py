"""Which grouping measures a Hamiltonian for the least money, or with the fewest shots."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from measurement.fees import NO_FEES, Fees
from measurement.group_variances import halfway_variances, prior_variances
from measurement.grouping import Grouping, fewest, fully_commuting, overlapping, qubit_wise_commuting
from problems.pauli import PauliSum

ADDED_BIAS_SHARE_MAX = 0.25
"""Entangling bases may add this share of the error asked for as bias; beyond, qubit-wise is better."""


@dataclass(frozen=True)
class MeasurementCost:
    """What measuring costs, and how well it shall be done.

    Attributes:
        std_error: asked for of one energy.
        fees: of jobs and circuits.
        two_qubit_error: of the device; 0 for noiseless simulators.
        batches: what shall be measured: of every batch its energies, each on circuits of its own.
        precision: 1 / error^2 that the shots of all batches together would give one energy.
    """

    std_error: float
    fees: Fees = NO_FEES
    two_qubit_error: float = 0.0
    batches: tuple[int, ...] = (1,)
    precision: float | None = None

    def of(self, sigmas: np.ndarray) -> float:
        """Fees and shots together, in shots, with groups of these single-shot deviations, shape (groups,)."""
        fees = sum(self.fees.of(len(sigmas) * energies) for energies in self.batches)
        precision = self.std_error**-2 if self.precision is None else self.precision
        return fees + precision * float(sigmas.sum()) ** 2


def choose_grouping(
    hamiltonian: PauliSum,
    basis_state: int | None,
    costs: MeasurementCost,
    kind: str = "auto",
    *,
    excitations: np.ndarray | None = None,
) -> Grouping:
    """The grouping of a kind; for `auto` the one of least fees of all batches + precision (sum_g sigma_g)^2,
    in shots.

    `auto` looks at qubit-wise and overlapping groups, and at two ways to make fully commuting ones; at those
    only where their entangling rotations, two CX a pair of qubits, would add little bias.

    Args:
        basis_state: near which sigma_g, group g's standard deviation, is taken.
        excitations: of that state, where sigma_g is to be that halfway to them.
    """
    qubit_wise = qubit_wise_commuting(hamiltonian)
    if kind == "qubit_wise" or hamiltonian.is_diagonal:
        return qubit_wise
    shared = overlapping(
        qubit_wise, hamiltonian, np.sqrt(prior_variances(qubit_wise, hamiltonian, basis_state))
    )
    if kind == "overlapping":
        return shared
    if kind == "fully_commuting":
        return fully_commuting(hamiltonian)
    if kind == "fewest":
        return fewest(hamiltonian)
    bias_max = ADDED_BIAS_SHARE_MAX * costs.std_error
    entangling = [
        grouping
        for grouping in (fully_commuting(hamiltonian), fewest(hamiltonian))
        if _added_bias(grouping, costs.two_qubit_error) <= bias_max
    ]
    offered = [qubit_wise, shared, *entangling]

    def cost(grouping: Grouping) -> float:
        if basis_state is None or excitations is None:
            return costs.of(np.sqrt(prior_variances(grouping, hamiltonian, basis_state)))
        return costs.of(np.sqrt(halfway_variances(grouping, hamiltonian, basis_state, excitations)))

    return min(offered, key=cost)


def entangling_gates(grouping: Grouping) -> np.ndarray:
    """CX gates of every basis change where each rotation is a ladder there and back, shape (groups,)."""
    return np.array(
        [
            sum(2 * ((x | z).bit_count() - 1) for x, z in grouping.bases.clifford(basis))
            for basis in range(len(grouping))
        ]
    )


def _added_bias(grouping: Grouping, two_qubit_error: float) -> float:
    """Bias of an energy if every failed gate puts its group into the mixed state, at worst."""
    lost = 1.0 - (1.0 - two_qubit_error) ** entangling_gates(grouping)
    return float(lost @ grouping.weights)
