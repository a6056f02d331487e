"""The quantum approximate optimization ansatz and where its angles start."""

from __future__ import annotations

import numpy as np

from problems.circuit import Circuit, Rotation
from problems.pauli import PauliSum
from problems.problem import Problem
from problems.tree_angles import interpolate, tree_angles
from shotwise.errors import SpecError


def qaoa_circuit(hamiltonian: PauliSum, layers: int, bias: np.ndarray | None = None) -> Circuit:
    """Alternate exp(-i gamma C) and exp(-i beta sum X) on |+...+> (arXiv:1411.4028).

    C = -H / scale without constant, where scale is twice the mean magnitude of H's coefficients: the cut
    value itself for an unweighted graph, the cut over the mean weight for any other, and of order one for
    every other H, so that one set of angles and step sizes fits problems of any unit.

    Parameters are gamma_1..gamma_p, beta_1..beta_p, in radians. Every term of H is one rotation about its Z
    string, every qubit of the mixer one about X.

    Args:
        bias: warm start (arXiv:2009.10095): the probability of bit 1 that each qubit starts with, shape (n,).
            Qubit q starts in RY(t)|0>, t = 2 arcsin sqrt(bias), and mixes about that state's axis: the
            rotation RY(t) RZ(2 beta) RY(-t) keeps it. One half everywhere is |+...+> and X.

    Raises:
        SpecError: the Hamiltonian is not diagonal.
    """
    cost = hamiltonian.without_constant()
    if not cost.is_diagonal:
        raise SpecError("ansatz.kind", "qaoa", "the Hamiltonian is not diagonal", "use hardware_efficient")
    # exp(-i gamma C) = prod exp(+i gamma c/scale P) = prod exp(-i angle/2 P), angle = -2 gamma c/scale
    scales = -cost.coefficients / np.abs(cost.coefficients).mean()
    qubits = range(cost.n_qubits)
    tilts = None if bias is None else 2.0 * np.arcsin(np.sqrt(bias))
    rotations = [] if tilts is None else [_ry(q, float(tilts[q])) for q in qubits]
    for layer in range(layers):
        rotations += [
            Rotation(0, int(z), parameter=layer, scale=float(scale))
            for z, scale in zip(cost.z, scales, strict=True)
        ]
        for q in qubits:
            if tilts is None:
                rotations.append(Rotation(1 << q, 0, parameter=layers + layer, scale=2.0))
            else:
                turn = Rotation(0, 1 << q, parameter=layers + layer, scale=2.0)
                rotations += [_ry(q, -float(tilts[q])), turn, _ry(q, float(tilts[q]))]
    return Circuit.build(cost.n_qubits, rotations, initial_plus=tilts is None)


def _ry(qubit: int, angle: float) -> Rotation:
    return Rotation(1 << qubit, 1 << qubit, offset=angle)


def qaoa_angles(problem: Problem, layers: int, start: str = "auto") -> np.ndarray:
    """Where to start: angles gamma_1..gamma_p, beta_1..beta_p, shape (2p,).

    Args:
        start: "fixed", the optimum on the infinite tree of the graph's degree (`problems.tree_angles`),
            interpolated where the table is shallower; "ramp"; "auto": fixed where the table has it.

    Raises:
        SpecError: "fixed" for a problem that is no unweighted regular cut of a degree in the table.
    """
    if start != "ramp":
        degree = _regular_degree(problem)
        angles = None if degree is None else tree_angles(degree, layers)
        if angles is not None:
            return angles
        if start == "fixed":
            return _deepest_fixed(degree, layers)
    return _ramp(problem, layers)


def _deepest_fixed(degree: int | None, layers: int) -> np.ndarray:
    """The deepest angles of the table, interpolated to more layers."""
    known = [] if degree is None else [tree_angles(degree, p) for p in range(layers, 0, -1)]
    deepest = next((angles for angles in known if angles is not None), None)
    if deepest is None:
        raise SpecError(
            "ansatz.start",
            "fixed",
            "known for unweighted 3-, 4- and 5-regular cuts only",
            "use ramp or auto",
        )
    return interpolate(deepest, layers)


def _ramp(problem: Problem, layers: int) -> np.ndarray:
    """A linear ramp:

        gamma_l = 2 arctan(1/sqrt(d - 1)) (l - 1/2)/p,      beta_l = pi/4 (1 - (l - 1/2)/p),

    (ramps: arXiv:2101.05742; scaling with the mean degree d: arXiv:2201.11785), whose height is set so that
    p = 1 is the optimum of triangle-free d-regular graphs, gamma = arctan(1/sqrt(d - 1)), beta = pi/8
    (arXiv:1706.02998).
    """
    degrees = _degrees(problem)
    progress = (np.arange(layers) + 0.5) / layers
    gamma = 2 * np.arctan2(1.0, np.sqrt(max(0.0, degrees[degrees > 0].mean() - 1.0)))
    return np.concatenate([gamma * progress, np.pi / 4 * (1 - progress)])


def _regular_degree(problem: Problem) -> int | None:
    """The degree of an unweighted regular cut, None for any other problem."""
    cost = problem.hamiltonian.without_constant()
    degrees = _degrees(problem)
    unweighted = len(np.unique(cost.coefficients)) == 1 and cost.coefficients[0] > 0
    regular = problem.is_cut and unweighted and len(np.unique(degrees)) == 1
    return int(degrees[0]) if regular else None


def _degrees(problem: Problem) -> np.ndarray:
    """How many terms each qubit is in, shape (n,)."""
    cost = problem.hamiltonian.without_constant()
    return np.array([np.count_nonzero(cost.z >> q & 1) for q in range(cost.n_qubits)])
