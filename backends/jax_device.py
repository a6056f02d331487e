"""The device `jax`: this machine's own simulator, exact or sampled, by the engine that suits the circuit."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import jax
import numpy as np

from backends import statevector as sv
from backends.device import Capabilities, Expectations
from backends.engines import Engine, Program
from backends.engines.diagonal import DiagonalEngine
from backends.engines.general import GeneralEngine
from backends.engines.program import padded
from backends.engines.sector import SectorEngine
from measurement.plan import Bases, ExecutionPlan, Outcome
from problems.circuit import Circuit
from problems.problem import GroundSpace, Observable
from shotwise.errors import CannotRunError

ENGINES: tuple[Engine, ...] = (SectorEngine(), DiagonalEngine(), GeneralEngine())
"""In order of preference; the last takes everything."""

_STATEVECTOR_BYTES = 64
"""Per basis state, to sample in a rotated basis: the state, its rotation and a cumulative distribution."""
_CHUNK_BYTES = 1 << 28
"""Points of a batch are evaluated side by side up to this much memory."""


@lru_cache(maxsize=16)
def engine_of(circuit: Circuit, observable: Observable | None) -> Engine:
    """The first engine that takes the circuit with the observable."""
    return next(engine for engine in ENGINES if engine.accepts(circuit, observable))


@lru_cache(maxsize=8)
def program_of(circuit: Circuit, observable: Observable | None) -> Program:
    """The circuit and the observable on their engine."""
    return engine_of(circuit, observable).program(circuit, observable)


@lru_cache(maxsize=4)
def ground_of(circuit: Circuit, observable: Observable | None, ground: GroundSpace) -> Any:
    """The ground space as the engine of the circuit reads it."""
    return engine_of(circuit, observable).ground(circuit, ground)


@dataclass(frozen=True)
class JaxDevice:
    """Exact simulation through `ENGINES`; deterministic on one machine."""

    name: str = "jax"

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(n_qubits_max=30, metric=True)

    def check_fits(self, circuit: Circuit, observable: Observable | None) -> None:
        """Refuse what would not fit into this machine's memory; without an observable, to be sampled.

        Raises:
            CannotRunError: naming the sizes.
        """
        n_qubits = circuit.n_qubits
        available = int(0.8 * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
        need = engine_of(circuit, observable).bytes_needed(circuit, observable)
        if observable is None:
            need += _STATEVECTOR_BYTES << n_qubits
        if n_qubits > self.capabilities.n_qubits_max or need > available:
            raise CannotRunError(
                "problem",
                f"{n_qubits} qubits",
                f"simulating it takes {need / 2**30:.1f} GiB of {available / 2**30:.1f} GiB here",
                "use an active space or fewer nodes",
            )

    def expectation(
        self, circuit: Circuit, observable: Observable, angles: np.ndarray, *, gradient: bool
    ) -> Expectations:
        """Energies, and angle gradients by the adjoint method (arXiv:2009.02823)."""
        program = program_of(circuit, observable)
        chunk = _chunk(circuit, observable, len(angles))
        points = padded(angles, program.rows)
        if not gradient:
            return Expectations(np.asarray(_energies(program, points, chunk=chunk)))
        values, gradients = _energies_and_gradients(program, points, chunk=chunk)
        return Expectations(np.asarray(values), np.asarray(gradients)[:, : len(circuit)])

    def fidelity(self, circuit: Circuit, ground: GroundSpace, angles: np.ndarray) -> np.ndarray:
        """Weight of the prepared states on the ground space, shape (points,)."""
        program = program_of(circuit, None)
        points = padded(angles, program.rows)
        chunk = _chunk(circuit, None, len(angles))
        return np.asarray(_fidelities(program, ground_of(circuit, None, ground), points, chunk=chunk))

    def metric(self, circuit: Circuit, angles: np.ndarray) -> np.ndarray:
        """Fubini-Study metric by parameters at one point of angles, shape (1, rotations) -> (d, d)."""
        program = program_of(circuit, None)
        jacobian = np.pad(circuit.jacobian(), ((0, program.rows - len(circuit)), (0, 0)))
        return np.asarray(_metric(program, padded(angles, program.rows)[0], jacobian))

    def sample(self, plan: ExecutionPlan) -> Outcome:
        """Draw every row from its exact distribution with the plan's own random numbers."""
        program = program_of(plan.circuit, None)
        points = padded(plan.angles, program.rows)
        bases = _basis_arrays(plan.bases, plan.circuit.n_qubits)
        outcomes = (len(plan.bases) << plan.circuit.n_qubits) if bases else len(program.basis_states)
        at_once = max(1, _CHUNK_BYTES // (8 * outcomes))
        results: list[tuple[np.ndarray, np.ndarray]] = [(np.empty(0), np.empty(0))] * len(plan)
        for start in range(0, len(plan.angles), at_once):
            part = points[start : start + at_once]
            chunk = _chunk(plan.circuit, None, len(part))
            states, table = _probabilities(program, part, bases, chunk=chunk)
            cumulative = np.cumsum(np.asarray(table), axis=-1)
            for row in np.flatnonzero((plan.point >= start) & (plan.point < start + at_once)):
                distribution = cumulative[plan.point[row] - start, plan.basis[row] if bases else 0]
                drawn, counts = _draw(plan.generator(int(row)), distribution, int(plan.shots[row]))
                results[row] = (np.asarray(states)[drawn], counts)
        return Outcome.from_rows(results)


def _draw(rng: np.random.Generator, cumulative: np.ndarray, shots: int) -> tuple[np.ndarray, np.ndarray]:
    """Distinct indices and their counts among `shots` draws from a cumulative distribution."""
    uniform = rng.random(shots) * cumulative[-1]
    drawn, counts = np.unique(np.searchsorted(cumulative, uniform, side="right"), return_counts=True)
    return np.minimum(drawn, len(cumulative) - 1), counts


def _chunk(circuit: Circuit, observable: Observable | None, points: int) -> int:
    """How many points to evaluate side by side."""
    return max(1, min(points, _CHUNK_BYTES // engine_of(circuit, observable).state_bytes(circuit)))


@partial(jax.jit, static_argnames="chunk")
def _energies(program: Program, points: jax.Array, *, chunk: int) -> jax.Array:
    return jax.lax.map(lambda angles: program.energy(program.state(angles)), points, batch_size=chunk)


@partial(jax.jit, static_argnames="chunk")
def _energies_and_gradients(
    program: Program, points: jax.Array, *, chunk: int
) -> tuple[jax.Array, jax.Array]:
    return jax.lax.map(
        lambda angles: program.gradient(program.state(angles), angles), points, batch_size=chunk
    )


@partial(jax.jit, static_argnames="chunk")
def _fidelities(program: Program, ground: Any, points: jax.Array, *, chunk: int) -> jax.Array:
    return jax.lax.map(
        lambda angles: program.fidelity(program.state(angles), ground), points, batch_size=chunk
    )


@jax.jit
def _metric(program: Program, angles: jax.Array, jacobian: jax.Array) -> jax.Array:
    return program.metric(angles, jacobian)


@partial(jax.jit, static_argnames="chunk")
def _probabilities(
    program: Program, points: jax.Array, bases: tuple[sv.Rotations, jax.Array] | None, *, chunk: int
) -> tuple[jax.Array, jax.Array]:
    """(basis states, their probabilities (points, bases, states)); only rotated bases leave the engine."""

    def rotated(psi: jax.Array, basis: tuple[sv.Rotations, jax.Array]) -> jax.Array:
        return jax.numpy.abs(sv.evolve(psi, *basis)) ** 2

    def at_point(angles: jax.Array) -> jax.Array:
        state = program.state(angles)
        if bases is None:
            return program.probabilities(state)[None, :]
        return jax.lax.map(partial(rotated, program.statevector(state)), bases)

    table = jax.lax.map(at_point, points, batch_size=chunk)
    return program.basis_states if bases is None else jax.numpy.arange(table.shape[-1]), table


@lru_cache(maxsize=4)
def _basis_arrays(bases: Bases, n_qubits: int) -> tuple[sv.Rotations, jax.Array] | None:
    """Every basis change as a stacked set of rotations, padded to the longest, and their angles.

    None where all bases are the computational one.
    """
    circuits = [Circuit.build(n_qubits, bases.rotations(basis, n_qubits)) for basis in range(len(bases))]
    if not any(len(circuit) for circuit in circuits):
        return None
    rows = max(n_qubits, *(len(circuit) for circuit in circuits))
    stacked = [sv.rotations_of(circuit, rows) for circuit in circuits]
    angles = np.stack([np.pad(c.offset, (0, rows - len(c))) for c in circuits])
    return jax.tree.map(lambda *rows: jax.numpy.stack(rows), *stacked), jax.numpy.asarray(angles)
