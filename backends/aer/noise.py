"""Aer's noise for the few physical qubits that a circuit uses.

A noise model of all 156 qubits of a Heron takes 30 s to build and 9 s to send to Aer with every run
(measured, qiskit-aer 0.18.2); one of 4 used qubits takes milliseconds. The channels are those of Qiskit's own
fake backends: depolarizing and thermal errors that add up to each gate's calibrated error, and asymmetric
readout errors. Waiting is not in them: relaxation is put into the delays of an as-late-as-possible schedule.
"""

from __future__ import annotations

import math
import warnings
from typing import cast

from qiskit.circuit import Delay, QuantumCircuit
from qiskit.transpiler import PassManager, Target, generate_preset_pass_manager
from qiskit.transpiler.exceptions import TranspilerError
from qiskit_aer.noise import NoiseModel, RelaxationNoisePass
from qiskit_aer.noise.device import basic_device_gate_errors, basic_device_readout_errors
from qiskit_ibm_runtime.models import BackendProperties


def noise_model(properties: BackendProperties, native_gates: list[str], used: frozenset[int]) -> NoiseModel:
    """The errors of gates and readout on the used physical qubits."""
    data = properties.to_dict()
    data["gates"] = [gate for gate in data["gates"] if used.issuperset(gate["qubits"])]
    model = NoiseModel(basis_gates=native_gates)
    for qubits, error in basic_device_readout_errors(properties):
        if used.issuperset(qubits):
            model.add_readout_error(error, qubits)
    with warnings.catch_warnings():
        # Aer tells that it truncates T2 > 2 T1, and a gate error above what depolarizing can give
        warnings.filterwarnings("ignore", module="qiskit_aer.noise.device.models")
        errors = basic_device_gate_errors(BackendProperties.from_dict(data), temperature=0)
    for name, qubits, error in errors:
        model.add_quantum_error(error, name, qubits)
    return model


def used_qubits(circuits: tuple[QuantumCircuit, ...]) -> frozenset[int]:
    """Physical qubits that any gate or measurement touches."""
    return frozenset(
        circuit.find_bit(qubit).index
        for circuit in circuits
        for instruction in circuit.data
        if instruction.operation.name not in ("barrier", "delay")
        for qubit in instruction.qubits
    )


def with_idle_noise(
    circuits: tuple[QuantumCircuit, ...], target: Target, properties: BackendProperties
) -> tuple[QuantumCircuit, ...]:
    """The circuits with relaxation wherever a used qubit waits for another.

    Unchanged where the snapshot lacks durations or relaxation times.
    """
    manager = _relaxation(target, properties)
    if manager is None:
        return circuits
    schedule = generate_preset_pass_manager(
        optimization_level=0,
        target=target,
        initial_layout=list(range(target.num_qubits or 0)),
        routing_method="none",
        scheduling_method="alap",
    )
    used = used_qubits(circuits)
    try:
        return tuple(manager.run(_without_idle_qubits(schedule.run(c), used)) for c in circuits)
    except TranspilerError:  # a gate or the readout has no duration
        return circuits


def _relaxation(target: Target, properties: BackendProperties) -> PassManager | None:
    qubits = range(target.num_qubits or 0)
    times = [(_time(properties, "T1", q), _time(properties, "T2", q)) for q in qubits]
    if target.dt is None or all(math.isinf(t1) for t1, _ in times):
        return None
    # physics forbids T2 > 2 T1, fits of it do not
    t2s = [min(t2, 2 * t1) for t1, t2 in times]
    return PassManager(RelaxationNoisePass([t1 for t1, _ in times], t2s, dt=target.dt, op_types=Delay))


def _time(properties: BackendProperties, name: str, qubit: int) -> float:
    known = cast(dict, properties.qubit_property(qubit))
    value = known.get(name)  # (seconds, date)
    return value[0] if value is not None and value[0] > 0 else math.inf


def _without_idle_qubits(circuit: QuantumCircuit, used: frozenset[int]) -> QuantumCircuit:
    """Without the delays of qubits that do nothing else, and without those before a qubit's first gate."""
    kept = circuit.copy_empty_like()
    started: set[int] = set()
    for instruction in circuit.data:
        indices = [circuit.find_bit(qubit).index for qubit in instruction.qubits]
        if instruction.operation.name == "delay" and not started.issuperset(indices):
            continue
        if used.issuperset(indices):
            started.update(indices)
        kept.append(instruction)
    return kept
