"""From our table of rotations to one- and two-qubit gates, exactly and with few of the latter. Any SDK.

Gates go to a `Gates`, which Qiskit's `QuantumCircuit` is and others are wrapped as; angles may be numbers or
the SDK's symbols. Qubit q is qubit q there. Global phases are not kept.

Counts of CX (or CZ) before routing, for m qubits in the Jordan-Wigner string:

* a Pauli rotation on w qubits: 2 (w - 1);
* a single excitation: 2 + 2 m. The two commuting rotations XY and YX become single-qubit ones under one CX;
* a double excitation: 14 + 2 m, 13 after the transpiler merges two neighbours (arXiv:2005.14475, sec. II B);
  as eight Pauli rotations it would take 48 or more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import numpy as np

from measurement.plan import Bases, ExecutionPlan
from problems.circuit import FIXED, Circuit

Angle = Any
"""Radians: a float, or a symbol that takes a factor and a sign."""


class Gates(Protocol):
    """What a circuit is built of, in Qiskit's names and argument order."""

    def x(self, qubit: int, /) -> object: ...
    def h(self, qubit: int, /) -> object: ...
    def rx(self, theta: Angle, qubit: int, /) -> object: ...
    def ry(self, theta: Angle, qubit: int, /) -> object: ...
    def rz(self, phi: Angle, qubit: int, /) -> object: ...
    def cx(self, control_qubit: int, target_qubit: int, /) -> object: ...
    def cz(self, control_qubit: int, target_qubit: int, /) -> object: ...


@dataclass(frozen=True, eq=False)
class Structure:
    """What of a plan a circuit is built from: all but the values of its free angles.

    Attributes:
        circuit: the ansatz.
        fixed: bool, shape (rotations,): rotations whose angle is `circuit.offset` at every point.
    """

    circuit: Circuit
    fixed: np.ndarray

    @classmethod
    def of(cls, plan: ExecutionPlan) -> Structure:
        """The structure of a plan; a fixed rotation that some point shifts counts as free."""
        circuit = plan.circuit
        still = (plan.angles == circuit.offset).all(axis=0)
        return cls(circuit, (circuit.parameter == FIXED) & still)

    def key(self) -> bytes:
        """Content of everything that the built circuit depends on."""
        circuit = self.circuit
        scalars = np.array([circuit.n_qubits, circuit.initial_state, circuit.initial_plus], dtype=np.int64)
        offsets = np.where(self.fixed, circuit.offset, 0.0)
        arrays = (scalars, circuit.x, circuit.z, circuit.source, circuit.excitation, self.fixed, offsets)
        return b"".join(array.tobytes() for array in arrays)


def build_circuit(gates: Gates, circuit: Circuit, angles: Sequence[Angle]) -> None:
    """The initial state, then every rotation at its angle; `angles` has one entry a rotation."""
    for qubit in range(circuit.n_qubits):
        if circuit.initial_plus:
            gates.h(qubit)
        elif circuit.initial_state >> qubit & 1:
            gates.x(qubit)
    for index in range(len(circuit)):
        if circuit.excitation[index]:
            _excitation(gates, circuit, index, angles[index])
        else:
            _pauli_rotation(gates, _bits(int(circuit.x[index])), _bits(int(circuit.z[index])), angles[index])


def change_basis(gates: Gates, bases: Bases, basis: int, qubits: Sequence[int]) -> None:
    """Append the rotations of `Bases.rotations`, with our qubit q at `qubits[q]`."""
    for x, z in bases.clifford(basis):
        _pauli_rotation(gates, [qubits[q] for q in _bits(x)], [qubits[q] for q in _bits(z)], np.pi / 2)
    for q, qubit in enumerate(qubits):
        if int(bases.x[basis]) >> q & 1:
            if int(bases.z[basis]) >> q & 1:
                gates.rx(np.pi / 2, qubit)
            else:
                gates.ry(-np.pi / 2, qubit)


def _bits(mask: int) -> list[int]:
    return [q for q in range(mask.bit_length()) if mask >> q & 1]


def _pauli_rotation(gates: Gates, x: Sequence[int], z: Sequence[int], angle: Angle) -> None:
    """exp(-i angle/2 P): to the Z basis, the parity onto the last qubit, RZ, and back.

    Args:
        x, z: the qubits on which P has X or Y, and Z or Y.
    """
    qubits = sorted({*x, *z})
    if not qubits:
        return
    if len(qubits) == 1:
        gate = {(True, False): gates.rx, (False, True): gates.rz, (True, True): gates.ry}[bool(x), bool(z)]
        gate(angle, qubits[0])
        return
    for q in x:
        (gates.rx(np.pi / 2, q) if q in z else gates.h(q))
    _ladder(gates, qubits)
    gates.rz(angle, qubits[-1])
    _ladder(gates, qubits, back=True)
    for q in x:
        (gates.rx(-np.pi / 2, q) if q in z else gates.h(q))


def _ladder(gates: Gates, qubits: list[int], *, back: bool = False) -> None:
    """The parity of `qubits` onto the last of them, or its inverse."""
    pairs = list(pairwise(qubits))
    for control, target in reversed(pairs) if back else pairs:
        gates.cx(control, target)


def _excitation(gates: Gates, circuit: Circuit, index: int, angle: Angle) -> None:
    """The two-level rotation of `problems.circuit`; Z on one excited qubit turns its direction around."""
    excited, string = _bits(int(circuit.x[index])), _bits(int(circuit.z[index]))
    if string:
        _ladder(gates, string)
        gates.cz(string[-1], excited[0])
    if len(excited) == 2:
        _two_qubit_excitation(gates, circuit, index, angle)
    else:
        _many_qubit_excitation(gates, excited, int(circuit.source[index]), angle)
    if string:
        gates.cz(string[-1], excited[0])
        _ladder(gates, string, back=True)


def _two_qubit_excitation(gates: Gates, circuit: Circuit, index: int, angle: Angle) -> None:
    """RY(-pi/2) on c, then CX(c, t), takes X_c Y_t to Y_t and Y_c X_t to Y_c."""
    c, t = _bits(int(circuit.x[index]))
    factor = {z >> t & 1: f for _, z, f in circuit.pauli_rotations(index)}
    gates.ry(-np.pi / 2, c)
    gates.cx(c, t)
    gates.ry(factor[0] * angle, c)
    gates.ry(factor[1] * angle, t)
    gates.cx(c, t)
    gates.ry(np.pi / 2, c)


def _many_qubit_excitation(gates: Gates, excited: list[int], source: int, angle: Angle) -> None:
    """A multi-controlled RY between CX fans (arXiv:2005.14475, fig. 5), uniformly controlled in Gray order.

    The fan from `pivot` leaves it the only qubit in which the two levels differ; the others then carry
    `pattern` on both, and 2^(k-1) rotations by +-angle/2^(k-1) with CZs between add up to `angle` there
    and to 0 elsewhere.
    """
    pivot, *others = excited
    level = source >> pivot & 1
    pattern = sum(((source >> q & 1) ^ level) << j for j, q in enumerate(others))
    for q in others:
        gates.cx(pivot, q)
    count = 1 << len(others)
    for step in range(count):
        gray, following = step ^ step >> 1, (step + 1) % count
        sign = (-1) ** (level + (pattern & gray).bit_count())
        gates.ry(sign * angle / count, pivot)
        changed = gray ^ following ^ following >> 1
        if changed:
            gates.cz(others[changed.bit_length() - 1], pivot)
    for q in others:
        gates.cx(pivot, q)
