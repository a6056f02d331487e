"""A plan's ansatz as a parametrised Qiskit circuit. Needs qiskit."""

from __future__ import annotations

from qiskit.circuit import ParameterVector, QuantumCircuit

from backends.transpile.synthesis import Structure, build_circuit


def to_qiskit(structure: Structure) -> QuantumCircuit:
    """The ansatz and its initial state, not measured; element i of `angle` is the angle of rotation i.

    Our qubit q is Qiskit's qubit q, and both put it at bit q of a basis-state index. Every rotation whose
    angle may differ between points has a parameter of its own, so that parameter shifts are bindings; one
    that is fixed throughout is a number, so that the transpiler may simplify around it.
    """
    circuit = structure.circuit
    built = QuantumCircuit(circuit.n_qubits)
    symbols = ParameterVector("angle", len(circuit))
    angles = [
        float(circuit.offset[index]) if structure.fixed[index] else symbols[index]
        for index in range(len(circuit))
    ]
    build_circuit(built, circuit, angles)
    return built
