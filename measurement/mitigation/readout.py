"""Readout errors of single qubits: measured, inverted, and never more certain than they are.

Qubit q reads 1 for |0> with probability e0 and 0 for |1> with e1, each on its own: M = kron_q M_q with
M_q = [[1 - e0, e1], [e0, 1 - e1]] (the tensored model of arXiv:2006.14044). For any function v of the true
outcome, the function M^-T v of the outcome as read has the same expectation: estimates stay unbiased and
linear in the counts, and only their variance grows: by f_P^-2, f_P = prod_(q in P) (1 - e0_q - e1_q), for a
Pauli P where e0 = e1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from measurement.plan import Bases, ExecutionPlan, Outcome

DRIFT = 0.1
"""Relative standard deviation of readout errors that a snapshot tells: its age and qubit asymmetry."""

INVERTIBLE = 0.2
"""The least 1 - e0 - e1 that is inverted: below it a qubit's bit says next to nothing."""


@dataclass(frozen=True, eq=False)
class ReadoutErrors:
    """Readout errors of a plan's qubits on one device.

    Attributes:
        e: shape (n_qubits, 2): probability of a wrong bit for |0> and for |1>.
        variances: of `e`, same shape; independent of each other.
    """

    e: np.ndarray
    variances: np.ndarray

    @classmethod
    def none(cls, n_qubits: int) -> ReadoutErrors:
        """Of a perfect reader."""
        return cls(np.zeros((n_qubits, 2)), np.zeros((n_qubits, 2)))

    @classmethod
    def from_calibration(cls, plan: ExecutionPlan, outcome: Outcome) -> ReadoutErrors:
        """From the outcome of a `calibration_plan`.

        Rates are k wrong of n, unbiased as what they correct must be; their variances are those of the
        posterior under a uniform prior, so that an error that was never seen is not certain to be none.
        """
        n_qubits = plan.circuit.n_qubits
        wrong, total = np.zeros((n_qubits, 2)), np.zeros((n_qubits, 2))
        for row in range(len(plan)):
            prepared = plan.bases.flips_at(int(plan.basis[row]))
            states, counts = outcome.row(row)
            for q in range(n_qubits):
                bit = prepared >> q & 1
                total[q, bit] += counts.sum()
                wrong[q, bit] += counts[(states >> q & 1) != bit].sum()
        likely = (wrong + 1) / (total + 2)
        return cls(wrong / np.maximum(total, 1), likely * (1 - likely) / (total + 3))

    @classmethod
    def from_snapshot(cls, readout_error: np.ndarray) -> ReadoutErrors:
        """From a device's published mean errors, shape (n_qubits,), uncertain by `DRIFT`."""
        e = np.repeat(np.asarray(readout_error, dtype=np.float64)[:, None], 2, axis=1)
        return cls(e, (DRIFT * e) ** 2)

    @property
    def invertible(self) -> bool:
        return bool(np.all(1 - self.e.sum(axis=1) >= INVERTIBLE))

    def dual(self, values: np.ndarray) -> np.ndarray:
        """M^-T v: the function of the outcome as read; values of all basis states, shape (..., 2**n)."""
        for q, inverse in enumerate(self._inverses()):
            values = _on_qubit(values, q, inverse.T)
        return values

    def gradient(self, duals: np.ndarray, frequencies: np.ndarray) -> np.ndarray:
        """d (sum of dual . p over rows) / d e, shape (n_qubits, 2): -dual . (dM_q/de M_q^-1) p for each q.

        Args:
            duals: of the functions that are averaged, shape (..., 2**n).
            frequencies: p, of outcomes as read, same shape.
        """
        slopes = np.empty_like(self.e)
        for q, inverse in enumerate(self._inverses()):
            value = _split(duals, q)
            weight = _split(_on_qubit(frequencies, q, inverse), q)
            difference = value[..., 1, :] - value[..., 0, :]
            slopes[q, 0] = -(difference * weight[..., 0, :]).sum()
            slopes[q, 1] = (difference * weight[..., 1, :]).sum()
        return slopes

    def _inverses(self) -> np.ndarray:
        e0, e1 = self.e[:, 0], self.e[:, 1]
        return np.array([[1 - e1, -e1], [-e0, 1 - e0]]).transpose(2, 0, 1) / (1 - e0 - e1)[:, None, None]


def calibration_plan(plan: ExecutionPlan, shots: int, seed: tuple[int, ...]) -> ExecutionPlan:
    """Circuits that prepare known bits on the qubits where `plan` runs, and read them.

    Args:
        shots: altogether, shared equally by as many circuits as `balanced_flips` gives.
    """
    flips = balanced_flips(plan.circuit.n_qubits)
    rows = np.arange(len(flips))
    zero = np.zeros(len(flips), dtype=np.int64)
    return ExecutionPlan(
        plan.circuit,
        plan.angles[:1],
        Bases(zero, zero, copies=(0,) * len(flips), flips=flips),
        point=zero,
        basis=rows,
        shots=np.full(len(flips), max(shots // len(flips), 1)),
        seed=seed,
    )


def balanced_flips(n_qubits: int) -> tuple[int, ...]:
    """Masks among which every pair of qubits sees all four flips equally often.

    An orthogonal array of strength two (Rao 1947): bit q of mask j is the parity of j & (q + 1). For every
    qubit and pair of qubits, averages over the masks are those over all 2^n of them.
    """
    return tuple(
        sum((j & (q + 1)).bit_count() % 2 << q for q in range(n_qubits))
        for j in range(1 << n_qubits.bit_length())
    )


def _split(vectors: np.ndarray, q: int) -> np.ndarray:
    """Vectors over basis states with qubit q on the last axis but one."""
    return vectors.reshape(*vectors.shape[:-1], -1, 2, 1 << q)


def _on_qubit(vectors: np.ndarray, q: int, matrix: np.ndarray) -> np.ndarray:
    """A 2 x 2 matrix on qubit q of vectors over basis states, shape (..., 2**n)."""
    return np.einsum("ij,...ajb->...aib", matrix, _split(vectors, q)).reshape(vectors.shape)
