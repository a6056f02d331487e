"""Rows of a plan as Sampler PUBs, and Sampler results as an outcome."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from qiskit.primitives.containers.bindings_array import BindingsArray
from qiskit.primitives.containers.sampler_pub import SamplerPub

from backends.transpile.transpiler import REGISTER, Transpiled
from measurement.plan import ExecutionPlan, Outcome

if TYPE_CHECKING:
    from qiskit.circuit import QuantumCircuit
    from qiskit.primitives import SamplerPubResult


@dataclass(frozen=True)
class PubRows:
    """Rows that share basis and shots, in the order of their parameter values."""

    basis: int
    shots: int
    rows: tuple[int, ...]


def group_rows(plan: ExecutionPlan) -> list[PubRows]:
    """The plan's rows by (shots, basis), in ascending order; rows of 0 shots are left out."""
    groups: dict[tuple[int, int], list[int]] = {}
    for row in np.flatnonzero(plan.shots > 0):
        groups.setdefault((int(plan.shots[row]), int(plan.basis[row])), []).append(int(row))
    return [PubRows(basis, shots, tuple(rows)) for (shots, basis), rows in sorted(groups.items())]


def pub_of(
    plan: ExecutionPlan, circuits: Sequence[QuantumCircuit], transpiled: Transpiled, group: PubRows
) -> SamplerPub:
    """One of `circuits` (a basis each) with parameter values of shape (rows, parameters)."""
    circuit = circuits[group.basis]
    values = plan.angles[plan.point[list(group.rows)]][:, transpiled.free[group.basis]]
    bindings = {tuple(circuit.parameters): values} if circuit.parameters else {}
    return SamplerPub(circuit, BindingsArray(bindings, shape=(len(group.rows),)), group.shots)


def join_results(
    plan: ExecutionPlan, answers: Iterable[tuple[list[PubRows], list[SamplerPubResult]]]
) -> Outcome:
    """The outcome of answers that cover the plan's rows; rows without an answer stay empty.

    Raises:
        ValueError: an answer does not have the shape of what was asked.
    """
    empty = (np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))
    results = [empty] * len(plan)
    for groups, answer in answers:
        for group, result in zip(groups, answer, strict=False):
            bits = result.data[REGISTER]
            if bits.num_bits != plan.circuit.n_qubits or bits.shape != (len(group.rows),):
                raise ValueError(
                    f"result of shape {bits.shape} x {bits.num_bits} bits for {len(group.rows)} rows"
                )
            for place, row in enumerate(group.rows):
                results[row] = _counts(bits.array[place])
    return Outcome.from_rows(results)


def _counts(packed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct states and counts of (shots, bytes) of big-endian packed bits."""
    weights = np.int64(1) << (8 * np.arange(packed.shape[1], dtype=np.int64)[::-1])
    states, counts = np.unique(packed.astype(np.int64) @ weights, return_counts=True)
    return states, counts
