"""The device `jax`: this machine's own simulator, exact or sampled."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache

import jax
import numpy as np

from backends import statevector as sv
from backends.device import Capabilities, Expectations
from measurement.plan import Bases, ExecutionPlan, Outcome
from problems.circuit import Circuit
from problems.pauli import PauliSum
from problems.problem import GroundSpace
from shotwise.errors import CannotRunError

_STATE_BYTES = 16
_STATES_HELD = 6
"""Forward, adjoint and their temporaries."""
_CHUNK_BYTES = 1 << 28
"""Points of a batch are evaluated side by side up to this much memory."""


@dataclass(frozen=True)
class JaxDevice:
    """Statevector simulation through `backends.statevector`; deterministic on one machine."""

    name: str = "jax"

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(exact=True, samples=True, metric=True, free=True, n_qubits_max=30)

    def check_fits(self, n_qubits: int, observable: PauliSum | None) -> None:
        """Refuse what would not fit into this machine's memory.

        Raises:
            CannotRunError: naming the sizes.
        """
        available = int(0.8 * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
        need = _STATES_HELD * _STATE_BYTES << n_qubits
        need += sv.observable_bytes(observable) if observable is not None else 0
        if n_qubits > self.capabilities.n_qubits_max or need > available:
            raise CannotRunError(
                "problem",
                f"{n_qubits} qubits",
                f"simulating it takes {need / 2**30:.1f} GiB of {available / 2**30:.1f} GiB here",
                "use an active space or fewer nodes",
            )

    def expectation(
        self, circuit: Circuit, observable: PauliSum, angles: np.ndarray, *, gradient: bool
    ) -> Expectations:
        """Energies, and angle gradients by the adjoint method (arXiv:2009.02823)."""
        psi0, rotations = _circuit_arrays(circuit)
        padded = sv.padded_angles(angles, len(rotations.x))
        chunk = _chunk(circuit.n_qubits, len(angles))
        masks = _observable(observable)
        if not gradient:
            return Expectations(np.asarray(sv.energies(psi0, rotations, masks, padded, chunk=chunk)))
        values, gradients = sv.energies_and_gradients(psi0, rotations, masks, padded, chunk=chunk)
        return Expectations(np.asarray(values), np.asarray(gradients)[:, : len(circuit)])

    def fidelity(self, circuit: Circuit, ground: GroundSpace, angles: np.ndarray) -> np.ndarray:
        """Weight of the prepared states on the ground space, shape (points,)."""
        psi0, rotations = _circuit_arrays(circuit)
        padded = sv.padded_angles(angles, len(rotations.x))
        chunk = _chunk(circuit.n_qubits, len(angles))
        return np.asarray(sv.fidelities(psi0, rotations, _ground(ground), padded, chunk=chunk))

    def metric(self, circuit: Circuit, angles: np.ndarray) -> np.ndarray:
        """Fubini-Study metric by parameters at one point of angles, shape (1, rotations) -> (d, d)."""
        psi0, rotations = _circuit_arrays(circuit)
        rows = len(rotations.x)
        jacobian = np.pad(circuit.jacobian(), ((0, rows - len(circuit)), (0, 0)))
        return np.asarray(sv.metric(psi0, rotations, sv.padded_angles(angles, rows)[0], jacobian))

    def sample(self, plan: ExecutionPlan) -> Outcome:
        """Draw every row from its exact distribution with the plan's own random numbers."""
        psi0, rotations = _circuit_arrays(plan.circuit)
        bases, basis_angles = _basis_arrays(plan.bases, plan.circuit.n_qubits)
        padded = sv.padded_angles(plan.angles, len(rotations.x))
        row_bytes = len(plan.bases) * 8 << plan.circuit.n_qubits
        at_once = max(1, _CHUNK_BYTES // row_bytes)
        results: list[tuple[np.ndarray, np.ndarray]] = [(np.empty(0), np.empty(0))] * len(plan)
        for start in range(0, len(plan.angles), at_once):
            part = padded[start : start + at_once]
            chunk = _chunk(plan.circuit.n_qubits, len(part))
            table = np.asarray(sv.probabilities(psi0, rotations, part, bases, basis_angles, chunk=chunk))
            cumulative = np.cumsum(table, axis=-1)
            for row in np.flatnonzero((plan.point >= start) & (plan.point < start + at_once)):
                distribution = cumulative[plan.point[row] - start, plan.basis[row]]
                results[row] = _draw(plan.generator(int(row)), distribution, int(plan.shots[row]))
        return Outcome.from_rows(results)


def _draw(rng: np.random.Generator, cumulative: np.ndarray, shots: int) -> tuple[np.ndarray, np.ndarray]:
    """Distinct states and their counts among `shots` draws from a cumulative distribution."""
    uniform = rng.random(shots) * cumulative[-1]
    states, counts = np.unique(np.searchsorted(cumulative, uniform, side="right"), return_counts=True)
    return np.minimum(states, len(cumulative) - 1), counts


def _chunk(n_qubits: int, points: int) -> int:
    """How many points to evaluate side by side."""
    return max(1, min(points, _CHUNK_BYTES // (_STATES_HELD * _STATE_BYTES << n_qubits)))


@lru_cache(maxsize=8)
def _circuit_arrays(circuit: Circuit) -> tuple[jax.Array, sv.Rotations]:
    return sv.initial_state(circuit), sv.rotations_of(circuit)


@lru_cache(maxsize=4)
def _observable(observable: PauliSum) -> sv.Observable:
    return sv.observable_of(observable)


@lru_cache(maxsize=4)
def _ground(ground: GroundSpace) -> sv.Ground:
    return sv.ground_of(ground)


@lru_cache(maxsize=4)
def _basis_arrays(bases: Bases, n_qubits: int) -> tuple[sv.Rotations, jax.Array]:
    """Every basis change as a stacked set of rotations, padded to the longest, and their angles."""
    circuits = [Circuit.build(n_qubits, bases.rotations(basis, n_qubits)) for basis in range(len(bases))]
    rows = max(n_qubits, *(len(circuit) for circuit in circuits))
    stacked = [sv.rotations_of(circuit, rows) for circuit in circuits]
    angles = np.stack([np.pad(c.offset, (0, rows - len(c))) for c in circuits])
    return jax.tree.map(lambda *rows: jax.numpy.stack(rows), *stacked), jax.numpy.asarray(angles)
