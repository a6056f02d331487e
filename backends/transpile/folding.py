"""Routed circuits run several times over, so that their noise grows and their state does not.

Folding a circuit after it was routed and optimised keeps every native gate and every physical qubit: the
noise of c copies is c times that of one. Barriers keep the finishing passes from cancelling a copy with its
inverse.
"""

from __future__ import annotations

from collections.abc import Sequence

from qiskit.circuit import QuantumCircuit


def fold(circuit: QuantumCircuit, copies: int) -> QuantumCircuit:
    """U (U^-1 U)^((copies - 1) / 2) (arXiv:2005.10921, sec. III A), or an empty circuit for 0 copies.

    Args:
        circuit: U on physical qubits, from |0...0>.
        copies: 0 or odd.
    """
    if copies == 0:
        return circuit.copy_empty_like()
    if copies % 2 == 0:
        raise ValueError(f"{copies} copies of a circuit do not make its state; use an odd number")
    folded = circuit.copy()
    used = sorted({folded.find_bit(q).index for row in circuit.data for q in row.qubits})
    inverse = circuit.inverse()
    for _ in range(copies // 2):
        for part in (inverse, circuit):
            folded.barrier(used)
            folded.compose(part, inplace=True)
    return folded


def flip(circuit: QuantumCircuit, flips: int, layout: Sequence[int]) -> None:
    """Append X to the physical qubits where the qubits of the mask are."""
    for q, physical in enumerate(layout):
        if flips >> q & 1:
            circuit.x(physical)
