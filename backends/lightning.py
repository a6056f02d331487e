"""The device `lightning`: PennyLane's `lightning.qubit`, exact or with shots.

PennyLane's wire q is our qubit q; its basis-state strings put wire 0 first.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pennylane as qml
from pennylane.devices import Device as PennyLaneDevice
from pennylane.devices import ExecutionConfig
from pennylane.pauli import PauliSentence, PauliWord
from pennylane.tape import QuantumScript

from backends.device import Capabilities, Expectations
from measurement.plan import ExecutionPlan, Outcome
from problems.circuit import Circuit
from problems.pauli import PauliSum
from problems.problem import Observable


@dataclass(frozen=True)
class LightningDevice:
    """`lightning.qubit` through PennyLane's device interface; gradients by its adjoint method."""

    name: str = "lightning"

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(n_qubits_max=28)

    def expectation(
        self, circuit: Circuit, observable: Observable, angles: np.ndarray, *, gradient: bool
    ) -> Expectations:
        """Energies, and angle gradients by lightning's adjoint differentiation."""
        device = qml.device("lightning.qubit", wires=circuit.n_qubits)
        measured = [qml.expval(_hamiltonian(observable.pauli))]
        tapes = [QuantumScript(_operations(circuit, row), measured) for row in angles]
        if not gradient:
            return Expectations(np.array(_run(device, tapes), dtype=np.float64))
        for tape in tapes:
            tape.trainable_params = _trainable(tape)
        config = device.setup_execution_config(
            ExecutionConfig(gradient_method="adjoint", use_device_gradient=True)
        )
        values, jacobians = device.execute_and_compute_derivatives(tapes, config)
        by_pauli = np.array(jacobians, dtype=np.float64).reshape(len(tapes), -1)
        return Expectations(np.array(values, dtype=np.float64), by_pauli @ _chain(circuit))

    def sample(self, plan: ExecutionPlan) -> Outcome:
        """Every row with lightning's own sampler, seeded by the plan."""
        results = []
        n_qubits = plan.circuit.n_qubits
        for row in range(len(plan)):
            seed = int(plan.generator(row).integers(2**31))
            device = qml.device("lightning.qubit", wires=n_qubits, seed=seed)
            operations = _operations(plan.circuit, plan.angles[plan.point[row]])
            change = Circuit.build(n_qubits, plan.bases.rotations(int(plan.basis[row]), n_qubits))
            operations += [gate for r in change.rotations() for gate in _pauli_rotation(r.offset, r.x, r.z)]
            tape = QuantumScript(operations, [qml.sample(wires=range(n_qubits))], shots=int(plan.shots[row]))
            (samples,) = _run(device, [tape])
            bits = np.asarray(samples, dtype=np.int64).reshape(-1, n_qubits)
            states, counts = np.unique(bits @ (1 << np.arange(n_qubits, dtype=np.int64)), return_counts=True)
            results.append((states, counts))
        return Outcome.from_rows(results)


def _run(device: PennyLaneDevice, tapes: list[QuantumScript]) -> list:
    transform, config = device.preprocess()
    prepared, finish = transform(tapes)
    return list(finish(device.execute(prepared, config)))


def _operations(circuit: Circuit, angles: np.ndarray) -> list[qml.operation.Operator]:
    """Gates for one row of angles: state preparation, then every rotation as commuting Pauli rotations."""
    wires = range(circuit.n_qubits)
    if circuit.initial_plus:
        start = [qml.Hadamard(q) for q in wires]
    else:
        start = [qml.BasisState([circuit.initial_state >> q & 1 for q in wires], wires=wires)]
    return start + [
        gate
        for index in range(len(circuit))
        for x, z, factor in circuit.pauli_rotations(index)
        for gate in _pauli_rotation(angles[index] * factor, x, z)
    ]


@lru_cache(maxsize=4)
def _chain(circuit: Circuit) -> np.ndarray:
    """Derivative of every emitted Pauli angle by the circuit's angles, (Pauli rotations, rotations)."""
    factors = [(i, f) for i in range(len(circuit)) for _, _, f in circuit.pauli_rotations(i)]
    chain = np.zeros((len(factors), len(circuit)))
    for row, (index, factor) in enumerate(factors):
        chain[row, index] = factor
    return chain


def _pauli_rotation(angle: float, x: int, z: int) -> list[qml.operation.Operator]:
    """exp(-i angle/2 P): a change of basis, MultiRZ, and back. Lightning has no native PauliRot adjoint."""
    qubits = [q for q in range((x | z).bit_length()) if (x | z) >> q & 1]
    if len(qubits) == 1:
        gate = {(1, 0): qml.RX, (0, 1): qml.RZ, (1, 1): qml.RY}[x != 0, z != 0]
        return [gate(angle, wires=qubits)]
    flipped = [q for q in qubits if x >> q & 1]
    there = [qml.adjoint(qml.S(q)) for q in flipped if z >> q & 1] + [qml.Hadamard(q) for q in flipped]
    back = [qml.Hadamard(q) for q in flipped] + [qml.S(q) for q in flipped if z >> q & 1]
    return [*there, qml.MultiRZ(angle, wires=qubits), *back]


_ROTATIONS = (qml.RX, qml.RY, qml.RZ, qml.MultiRZ)


def _trainable(tape: QuantumScript) -> list[int]:
    """Positions of the rotation angles among all parameters of the tape."""
    owners = [operation for operation in tape.operations for _ in operation.data]
    return [at for at, operation in enumerate(owners) if isinstance(operation, _ROTATIONS)]


@lru_cache(maxsize=4)
def _hamiltonian(observable: PauliSum) -> qml.operation.Operator:
    words = [
        PauliWord({q: letter for q, letter in enumerate(string) if letter != "I"})
        for string in observable.strings()
    ]
    sentence = PauliSentence(dict(zip(words, map(float, observable.coefficients), strict=True)))
    return sentence.operation(wire_order=range(observable.n_qubits))
