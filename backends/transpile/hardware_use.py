"""Count what a transpiled circuit does to the hardware."""

from __future__ import annotations

from collections import Counter, defaultdict

from qiskit.circuit import QuantumCircuit
from qiskit.transpiler import Target

from backends.transpile.success import HardwareUse

VIRTUAL_GATES = frozenset({"rz", "u1", "p", "id", "barrier", "delay", "measure", "reset"})
"""Not a pulse: frame changes, and what is counted elsewhere."""

_DURATION_S = {1: 5e-8, 2: 3e-7}
"""Typical superconducting durations, for targets that do not tell theirs."""

_READOUT_S = 1e-6


def hardware_use(circuit: QuantumCircuit, target: Target, layout: list[int]) -> HardwareUse:
    """The use of a circuit on physical qubits, measured on `layout` after its last gate.

    Idle times are those of an as-late-as-possible schedule, which Qiskit's `alap` makes too: a qubit waits
    in its ground state before its first gate, which costs nothing, and for its partners after.
    """
    ones: Counter[int] = Counter()
    twos: Counter[tuple[int, int]] = Counter()
    end_s: defaultdict[int, float] = defaultdict(float)
    busy_s: defaultdict[int, float] = defaultdict(float)
    for instruction in reversed(circuit.data):
        qubits = tuple(circuit.find_bit(qubit).index for qubit in instruction.qubits)
        name = instruction.operation.name
        if name in VIRTUAL_GATES:
            continue
        if len(qubits) == 2:
            twos[min(qubits), max(qubits)] += 1
        else:
            ones[qubits[0]] += 1
        seconds = _duration_s(target, name, qubits)
        start = max(end_s[qubit] for qubit in qubits) + seconds
        for qubit in qubits:
            end_s[qubit] = start
            busy_s[qubit] += seconds
    used = sorted({*end_s, *layout})
    readout_s = max((_readout_s(target, qubit) for qubit in layout), default=0.0)
    return HardwareUse(
        layout=tuple(layout),
        one_qubit_gates=tuple(sorted(ones.items())),
        two_qubit_gates=tuple(sorted(twos.items())),
        idle_s=tuple((qubit, max(end_s[qubit] - busy_s[qubit], 0.0)) for qubit in used),
        duration_s=max(end_s.values(), default=0.0) + readout_s,
    )


def _duration_s(target: Target, name: str, qubits: tuple[int, ...]) -> float:
    place = (target[name] or {}).get(qubits) if name in target else None
    known = place.duration if place is not None else None
    return known if known is not None else _DURATION_S[len(qubits)]


def _readout_s(target: Target, qubit: int) -> float:
    place = (target["measure"] or {}).get((qubit,)) if "measure" in target else None
    known = place.duration if place is not None else None
    return known if known is not None else _READOUT_S
