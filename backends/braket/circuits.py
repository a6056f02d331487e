"""Rows of a plan as Braket circuits, a plan as a task's action, and what was measured as an outcome.

Our qubit q is Braket's qubit q; its bit strings put qubit 0 first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from braket.circuits import Circuit as BraketCircuit
from braket.circuits.serialization import IRType
from braket.ir.openqasm import ProgramSet

from backends.transpile.synthesis import build_circuit, change_basis
from measurement.plan import ExecutionPlan


@dataclass(frozen=True)
class _Gates:
    """`backends.transpile.synthesis.Gates` onto a Braket circuit."""

    circuit: Any  # BraketCircuit; the SDK adds its gate methods at import

    def x(self, qubit: int) -> None:
        self.circuit.x(qubit)

    def h(self, qubit: int) -> None:
        self.circuit.h(qubit)

    def rx(self, theta: float, qubit: int) -> None:
        self.circuit.rx(qubit, theta)

    def ry(self, theta: float, qubit: int) -> None:
        self.circuit.ry(qubit, theta)

    def rz(self, phi: float, qubit: int) -> None:
        self.circuit.rz(qubit, phi)

    def cx(self, control_qubit: int, target_qubit: int) -> None:
        self.circuit.cnot(control_qubit, target_qubit)

    def cz(self, control_qubit: int, target_qubit: int) -> None:
        self.circuit.cz(control_qubit, target_qubit)


def circuit_of(plan: ExecutionPlan, row: int) -> BraketCircuit:
    """The circuit of one row with its angles, not measured; Braket measures every qubit of a task."""
    n_qubits = plan.circuit.n_qubits
    built: Any = BraketCircuit()
    for qubit in range(n_qubits):
        built.i(qubit)  # a qubit without gates would not be measured
    gates = _Gates(built)
    build_circuit(gates, plan.circuit, [float(angle) for angle in plan.angles[plan.point[row]]])
    change_basis(gates, plan.bases, int(plan.basis[row]), range(n_qubits))
    return built


def action_of(plan: ExecutionPlan) -> str:
    """What a task is to run, as Braket's JSON: an OpenQASM program, or a program set of the plan's rows."""
    programs = [circuit_of(plan, row).to_ir(ir_type=IRType.OPENQASM) for row in range(len(plan))]
    return (programs[0] if len(programs) == 1 else ProgramSet(programs=programs)).json()


def states_of(measurements: np.ndarray, qubits: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Distinct basis states and counts of (shots, measured) bits, column j being qubit qubits[j]."""
    weights = np.int64(1) << np.array(qubits, dtype=np.int64)
    return np.unique(np.asarray(measurements, dtype=np.int64) @ weights, return_counts=True)
