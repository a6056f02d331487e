"""Small circuits whose answer is known: what they get wrong is the device's error, and nothing else's.

Readout: every qubit prepared as 0, then as 1. Mirror circuits: random Clifford layers, a random Pauli layer,
and the layers' inverse, which end in one basis state whatever the layers were (arXiv:2008.11294). The Pauli
layer in the middle keeps a compiler from cancelling the two halves.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from measurement.plan import Bases, ExecutionPlan, Outcome
from problems.circuit import Circuit, Rotation


@dataclass(frozen=True, eq=False)
class Canary:
    """A plan and the basis state that each of its rows would give without errors, shape (rows,)."""

    plan: ExecutionPlan
    target: np.ndarray

    @property
    def n_qubits(self) -> int:
        return self.plan.circuit.n_qubits


def readout_canary(n_qubits: int, shots: int, seed: tuple[int, ...]) -> Canary:
    """All zeros and all ones, `shots` each."""
    circuit = Circuit.build(n_qubits, [Rotation(1 << qubit, 0) for qubit in range(n_qubits)])
    angles = np.array([np.zeros(n_qubits), np.full(n_qubits, np.pi)])
    return Canary(_plan(circuit, angles, shots, seed), np.array([0, (1 << n_qubits) - 1]))


def mirror_canary(n_qubits: int, layers: int, circuits: int, shots: int, seed: tuple[int, ...]) -> Canary:
    """Random mirror circuits on a line of qubits, `shots` each.

    A layer turns every qubit by multiples of pi/2 about X and Z and couples neighbours by ZZ(pi/2), even
    pairs and odd pairs in turn.
    """
    rows = [row for layer in range(layers) for row in _layer(n_qubits, layer)]
    middle = [mask for qubit in range(n_qubits) for mask in ((1 << qubit, 0), (0, 1 << qubit))]
    circuit = Circuit.build(n_qubits, [Rotation(x, z) for x, z in (*rows, *middle, *rows[::-1])])
    entropy, *path = seed
    rng = np.random.default_rng(np.random.SeedSequence(entropy, spawn_key=tuple(path)))
    quarters = rng.integers(4, size=(circuits, len(rows)))
    couples = np.array([bool(z & (z - 1)) for _, z in rows])
    there = np.where(couples, np.pi / 2, quarters * np.pi / 2)
    pauli = rng.integers(2, size=(circuits, len(middle))) * np.pi
    angles = np.concatenate([there, pauli, -there[:, ::-1]], axis=1)
    target = np.array([_mirrored(rows, there[c], middle, pauli[c]) for c in range(circuits)])
    return Canary(_plan(circuit, angles, shots, seed), target)


def readout_errors(canary: Canary, outcome: Outcome) -> np.ndarray:
    """Share of wrong bits of every qubit, both preparations together, shape (qubits,)."""
    wrong, shots = np.zeros(canary.n_qubits), 0
    for row in range(len(canary.plan)):
        states, counts = outcome.row(row)
        flipped = states ^ canary.target[row]
        wrong += [int(counts[flipped >> qubit & 1 == 1].sum()) for qubit in range(canary.n_qubits)]
        shots += int(counts.sum())
    return wrong / max(shots, 1)


def mirror_error(canary: Canary, outcome: Outcome) -> float:
    """Share of shots that did not come back to the target."""
    hits = shots = 0
    for row in range(len(canary.plan)):
        states, counts = outcome.row(row)
        hits += int(counts[states == canary.target[row]].sum())
        shots += int(counts.sum())
    return 1.0 - hits / max(shots, 1)


def _layer(n_qubits: int, layer: int) -> list[tuple[int, int]]:
    """(x, z) of a layer's rotations."""
    turns = [mask for qubit in range(n_qubits) for mask in ((1 << qubit, 0), (0, 1 << qubit))]
    return turns + [(0, 0b11 << qubit) for qubit in range(layer % 2, n_qubits - 1, 2)]


def _mirrored(
    rows: list[tuple[int, int]],
    there: np.ndarray,
    middle: list[tuple[int, int]],
    pauli: np.ndarray,
) -> int:
    """Where |0...0> ends: at what the middle Pauli, carried back through the layers, makes of it.

    Clifford rotations map Pauli strings to Pauli strings: exp(i t/2 G) P exp(-i t/2 G) is P where they
    commute or t is 0, -P at pi, and G P up to a phase at odd multiples of pi/2. Phases move no state.
    """
    x = z = 0
    for (row_x, row_z), angle in zip(middle, pauli, strict=True):
        if angle:
            x, z = x ^ row_x, z ^ row_z
    for (row_x, row_z), angle in zip(rows[::-1], there[::-1], strict=True):
        anticommute = ((x & row_z).bit_count() + (z & row_x).bit_count()) % 2
        if anticommute and round(angle / (np.pi / 2)) % 2:
            x, z = x ^ row_x, z ^ row_z
    return x


def _plan(circuit: Circuit, angles: np.ndarray, shots: int, seed: tuple[int, ...]) -> ExecutionPlan:
    zero, rows = np.zeros(1, dtype=np.int64), np.arange(len(angles))
    return ExecutionPlan(
        circuit, angles, Bases(zero, zero), rows, np.zeros_like(rows), np.full(len(rows), shots), seed
    )
