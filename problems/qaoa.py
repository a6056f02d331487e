"""The quantum approximate optimization ansatz and where its angles start."""

from __future__ import annotations

import numpy as np

from problems.circuit import Circuit, Rotation
from problems.pauli import PauliSum
from problems.problem import Problem
from shotwise.errors import SpecError

FIXED_ANGLES_3_REGULAR = {
    1: ((0.615534,), (0.392672,)),
    2: ((0.487710, 0.897988), (0.555060, 0.292508)),
}
"""layers: (gammas, betas) whose expected ratios are at least .6924 and .7559 (arXiv:2107.00677)."""


def qaoa_circuit(hamiltonian: PauliSum, layers: int) -> Circuit:
    """Alternate exp(-i gamma C) and exp(-i beta sum X) on |+...+> (arXiv:1411.4028).

    C = -H / scale without constant, where scale is twice the mean magnitude of H's coefficients: the cut
    value itself for an unweighted graph, the cut over the mean weight for any other, and of order one for
    every other H, so that one set of angles and step sizes fits problems of any unit.

    Parameters are gamma_1..gamma_p, beta_1..beta_p, in radians. Every term of H is one rotation about its Z
    string, every qubit of the mixer one about X.

    Raises:
        SpecError: the Hamiltonian is not diagonal.
    """
    cost = hamiltonian.without_constant()
    if not cost.is_diagonal:
        raise SpecError("ansatz.kind", "qaoa", "the Hamiltonian is not diagonal", "use hardware_efficient")
    # exp(-i gamma C) = prod exp(+i gamma c/scale P) = prod exp(-i angle/2 P), angle = -2 gamma c/scale
    scales = -cost.coefficients / np.abs(cost.coefficients).mean()
    rotations = []
    for layer in range(layers):
        rotations += [
            Rotation(0, int(z), parameter=layer, scale=float(scale))
            for z, scale in zip(cost.z, scales, strict=True)
        ]
        rotations += [Rotation(1 << q, 0, parameter=layers + layer, scale=2.0) for q in range(cost.n_qubits)]
    return Circuit.build(cost.n_qubits, rotations, initial_plus=True)


def qaoa_angles(problem: Problem, layers: int) -> np.ndarray:
    """Where to start: angles gamma_1..gamma_p, beta_1..beta_p, shape (2p,).

    Unweighted 3-regular cuts at p = 1, 2 start from their fixed angles. Otherwise from the linear ramp

        gamma_l = 2 arctan(1/sqrt(d - 1)) (l - 1/2)/p,      beta_l = pi/4 (1 - (l - 1/2)/p),

    (ramps: arXiv:2101.05742; scaling with the mean degree d: arXiv:2201.11785), whose height is set so that
    p = 1 is the optimum of triangle-free d-regular graphs, gamma = arctan(1/sqrt(d - 1)), beta = pi/8
    (arXiv:1706.02998).
    """
    cost = problem.hamiltonian.without_constant()
    degrees = np.array([np.count_nonzero(cost.z >> q & 1) for q in range(cost.n_qubits)])
    unweighted = len(np.unique(cost.coefficients)) == 1 and cost.coefficients[0] > 0
    if problem.is_cut and unweighted and np.all(degrees == 3) and layers in FIXED_ANGLES_3_REGULAR:
        return np.concatenate(FIXED_ANGLES_3_REGULAR[layers])
    progress = (np.arange(layers) + 0.5) / layers
    gamma = 2 * np.arctan2(1.0, np.sqrt(max(0.0, degrees[degrees > 0].mean() - 1.0)))
    return np.concatenate([gamma * progress, np.pi / 4 * (1 - progress)])
