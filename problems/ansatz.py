"""From an ansatz's spec and a problem to a circuit and the parameters it starts from."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from problems.amplitudes import amplitude_angles
from problems.circuit import FIXED, Circuit, Rotation
from problems.electronic import ElectronicHamiltonian
from problems.excitations import generalized_singles_and_paired_doubles, singles_and_doubles
from problems.ising_model import IsingModel
from problems.problem import Problem
from problems.qaoa import qaoa_angles, qaoa_circuit
from problems.relaxation import goemans_williamson
from problems.sector import Sector
from problems.spatial_symmetry import symmetry_allowed
from shotwise.errors import SpecError
from shotwise.rng import Purpose, stream
from shotwise.spec import (
    AdaptAnsatz,
    AnsatzSpec,
    HardwareEfficientAnsatz,
    KUpccgsdAnsatz,
    QaoaAnsatz,
    RqaoaAnsatz,
    UccsdAnsatz,
)
from shotwise.words import quantity

_SPREAD = 0.1
"""Radians: enough to leave the stationary start, small enough to stay off barren plateaus."""


@dataclass(frozen=True, eq=False)
class Ansatz:
    """A circuit and where its parameters start.

    Attributes:
        circuit: what is run; of an adaptive ansatz, the bare Hartree-Fock state.
        start: radians, shape (d,).
        spread: standard deviation of the random offsets from `start`, in radians.
        pool: rotations that an adaptive ansatz may grow by, naming no parameter; None for all others.
    """

    circuit: Circuit
    start: np.ndarray
    spread: float = 0.0
    pool: tuple[Rotation, ...] | None = None

    def initial_parameters(self, seed: int) -> np.ndarray:
        """Parameters to start from, float64, shape (d,); the same seed gives the same ones."""
        if self.spread == 0.0:
            return self.start.copy()
        return self.start + self.spread * stream(seed, Purpose.INITIAL_PARAMETERS).standard_normal(
            len(self.start)
        )


def build_ansatz(spec: AnsatzSpec, problem: Problem) -> Ansatz:
    """The ansatz of a spec, for a problem.

    Raises:
        SpecError: at ``ansatz.kind``: it does not fit the problem, or has nothing to rotate; at
            ``ansatz.start``: there is no such start here; at ``ansatz.parameters``: not one an angle.
        CannotRunError: the amplitudes that it starts from cannot be had.
    """
    match spec:
        case UccsdAnsatz():
            return _started(_uccsd(spec, problem), spec, problem)
        case KUpccgsdAnsatz():
            return _kupccgsd(spec, _sector(spec.kind, problem))
        case AdaptAnsatz():
            return _adapt(spec, problem)
        case HardwareEfficientAnsatz():
            return _started(_hardware_efficient(problem, spec.layers), spec, problem)
        case QaoaAnsatz():
            return _started(_qaoa(problem, spec), spec, problem)
        case RqaoaAnsatz():
            raise SpecError("ansatz.kind", spec.kind, "it runs no circuit", "use qaoa for one")


def _started(
    ansatz: Ansatz, spec: UccsdAnsatz | HardwareEfficientAnsatz | QaoaAnsatz, problem: Problem
) -> Ansatz:
    """The ansatz with its parameters where the spec wants them to start."""
    if spec.parameters is not None:
        return _started_at(ansatz, np.array(spec.parameters, dtype=np.float64))
    if spec.start.startswith("run:"):
        raise ValueError("resolve the spec first: its start is still in another run")
    if isinstance(spec, QaoaAnsatz):
        return replace(ansatz, start=qaoa_angles(problem, spec.layers, spec.start))
    if isinstance(spec, UccsdAnsatz) and spec.start != "hartree_fock":
        assert problem.sector is not None
        assert isinstance(problem.observable, ElectronicHamiltonian), "a molecule keeps its integrals"
        pool = tuple(ansatz.circuit.rotations())
        return replace(ansatz, start=amplitude_angles(spec.start, problem.observable, problem.sector, pool))
    return ansatz


def _started_at(ansatz: Ansatz, parameters: np.ndarray) -> Ansatz:
    if len(parameters) != ansatz.circuit.n_parameters:
        raise SpecError(
            "ansatz.parameters",
            quantity(len(parameters), "parameter"),
            f"the circuit has {ansatz.circuit.n_parameters}",
            "start from a run of the same ansatz and number of orbitals or layers",
        )
    return replace(ansatz, start=parameters, spread=0.0)


def grow(circuit: Circuit, rotation: Rotation) -> Circuit:
    """The circuit with one rotation more at its end, carrying a new last parameter of its own."""
    grown = rotation._replace(parameter=circuit.n_parameters)
    return Circuit.build(
        circuit.n_qubits,
        [*circuit.rotations(), grown],
        initial_state=circuit.initial_state,
        initial_plus=circuit.initial_plus,
    )


def _sector(kind: str, problem: Problem) -> Sector:
    if problem.sector is None:
        raise SpecError(
            "ansatz.kind", kind, f"needs a molecule, the problem is {problem.kind}", "use hardware_efficient"
        )
    return problem.sector


def _symmetric_excitations(spec: UccsdAnsatz | AdaptAnsatz, problem: Problem) -> tuple[Rotation, ...]:
    pool = _excitations(spec.kind, _sector(spec.kind, problem))
    if spec.symmetry == "none":
        return pool
    assert isinstance(problem.observable, ElectronicHamiltonian), "a molecule keeps its integrals"
    kept = symmetry_allowed(problem.observable, pool)
    if not kept:
        raise SpecError(
            "ansatz.symmetry",
            spec.symmetry,
            "forbids every excitation: Hartree-Fock is exact here",
            "use a larger basis or active space",
        )
    return kept


def _excitations(kind: str, sector: Sector) -> tuple[Rotation, ...]:
    pool = singles_and_doubles(sector)
    if not pool:
        raise SpecError(
            "ansatz.kind",
            kind,
            "no electron can be excited: Hartree-Fock is exact here",
            "use a larger basis or active space",
        )
    return pool


def _uccsd(spec: UccsdAnsatz, problem: Problem) -> Ansatz:
    """First-order Trotter product of `singles_and_doubles`, in their order (arXiv:1805.04340)."""
    sector, pool = _sector(spec.kind, problem), _symmetric_excitations(spec, problem)
    rotations = [rotation._replace(parameter=index) for index, rotation in enumerate(pool)]
    circuit = Circuit.build(2 * sector.orbitals, rotations, initial_state=sector.hartree_fock_state)
    return Ansatz(circuit, np.zeros(circuit.n_parameters))


def _kupccgsd(spec: KUpccgsdAnsatz, sector: Sector) -> Ansatz:
    """k layers of `generalized_singles_and_paired_doubles`, each with parameters of its own.

    They start apart, or all layers would stay alike for good.
    """
    _excitations(spec.kind, sector)  # refuses where nothing can be excited
    layers = generalized_singles_and_paired_doubles(sector) * spec.k
    rotations = [rotation._replace(parameter=index) for index, rotation in enumerate(layers)]
    circuit = Circuit.build(2 * sector.orbitals, rotations, initial_state=sector.hartree_fock_state)
    return Ansatz(circuit, np.zeros(circuit.n_parameters), spread=_SPREAD)


def _adapt(spec: AdaptAnsatz, problem: Problem) -> Ansatz:
    """The Hartree-Fock state and the operators that it may grow by (arXiv:1812.11173)."""
    sector = _sector(spec.kind, problem)
    circuit = Circuit.build(2 * sector.orbitals, [], initial_state=sector.hartree_fock_state)
    return Ansatz(circuit, np.zeros(0), pool=_symmetric_excitations(spec, problem))


def _qaoa(problem: Problem, spec: QaoaAnsatz) -> Ansatz:
    bias = None
    if spec.warm_start is not None:
        sides = goemans_williamson(IsingModel.of(problem.hamiltonian)).spins
        bias = np.where(sides > 0, spec.warm_start.epsilon, 1.0 - spec.warm_start.epsilon)
    circuit = qaoa_circuit(problem.hamiltonian, spec.layers, bias)
    return Ansatz(circuit, np.zeros(circuit.n_parameters))


def _hardware_efficient(problem: Problem, layers: int) -> Ansatz:
    """RY and RZ on every qubit, then ZZ(pi/2) along the line, `layers` times; RY and RZ at the end.

    The shape of arXiv:1704.05018. Starts near the Hartree-Fock state, or |0...0>, for molecules and
    others: 2 n (layers + 1) parameters, by layer, then qubit, then RY before RZ.
    """
    n = problem.n_qubits
    rotations: list[Rotation] = []
    for layer in range(layers + 1):
        for q in range(n):
            first = 2 * (layer * n + q)
            rotations += [Rotation(1 << q, 1 << q, parameter=first), Rotation(0, 1 << q, parameter=first + 1)]
        if layer < layers:
            rotations += [Rotation(0, 0b11 << q, parameter=FIXED, offset=np.pi / 2) for q in range(n - 1)]
    initial_state = problem.sector.hartree_fock_state if problem.sector else 0
    circuit = Circuit.build(n, rotations, initial_state=initial_state)
    return Ansatz(circuit, np.zeros(circuit.n_parameters), spread=_SPREAD)
