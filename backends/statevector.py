"""A statevector engine in JAX: any table of rotations as one jitted scan.

The circuit's masks are arguments, not constants, so every circuit of the same size shares one compiled
program and compile time does not grow with depth. Gradients are adjoint (arXiv:2009.02823, algorithm 1):
the reverse pass un-applies the rotations instead of storing states, so memory is a few statevectors.

A state is complex128, shape (2**n,), qubit q is bit q of the index.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from problems.circuit import Circuit
from problems.pauli import PauliSum, parity
from problems.problem import GroundSpace

jax.config.update("jax_enable_x64", True)

_ROWS_QUANTUM = 16
"""Circuits are padded to a multiple of this many rotations, so that growing ones rarely recompile."""


class Rotations(NamedTuple):
    """A circuit's rows on the device side; `unit` folds all constant phases.

    A rotation acts as psi[k] -> cos(a/2) psi[k] + sin(a/2) f(k) psi[k ^ x] where it is active, with
    f(k) = unit * direction(k) * (-1)^{|k & z|}; direction is 1 for Pauli rotations.
    """

    x: jax.Array
    z: jax.Array
    source: jax.Array
    excitation: jax.Array
    unit: jax.Array


class Observable(NamedTuple):
    """H psi [k] = sum_j diagonals[j, k] psi[k ^ shifts[j]]: the Pauli terms gathered by their flip mask."""

    shifts: jax.Array
    diagonals: jax.Array


class Ground(NamedTuple):
    """A ground space on its support: amplitudes (degeneracy, s), or (1, s) weights of single states."""

    support: jax.Array
    amplitudes: jax.Array
    separate: jax.Array


def rotations_of(circuit: Circuit, rows: int | None = None) -> Rotations:
    """The rows of a circuit, padded with identities to `rows` (default: the next multiple of 16)."""
    used = len(circuit)
    rows = rows or max(_ROWS_QUANTUM, -(-used // _ROWS_QUANTUM) * _ROWS_QUANTUM)
    y_count = np.bitwise_count(circuit.x & circuit.z).astype(np.int64)
    # P psi [k] = i^y (-1)^{|(k ^ x) & z|} psi[k ^ x], and |(k ^ x) & z| = |k & z| + y (mod 2)
    pauli_unit = -1j * (1j**y_count) * (1 - 2 * (y_count & 1))
    pad = (0, rows - used)
    return Rotations(
        jnp.asarray(np.pad(circuit.x, pad)),
        jnp.asarray(np.pad(circuit.z, pad)),
        jnp.asarray(np.pad(circuit.source, pad)),
        jnp.asarray(np.pad(circuit.excitation, pad)),
        jnp.asarray(np.pad(np.where(circuit.excitation, -1.0 + 0j, pauli_unit), pad)),
    )


def padded_angles(angles: np.ndarray, rows: int) -> jax.Array:
    """Angles (points, rotations) padded with zeros to `rows` columns."""
    return jnp.asarray(np.pad(angles, ((0, 0), (0, rows - angles.shape[1]))))


def observable_of(hamiltonian: PauliSum) -> Observable:
    """Gather a Pauli sum by flip mask; memory is (distinct flip masks) * 2**n numbers."""
    states = np.arange(1 << hamiltonian.n_qubits, dtype=np.int64)
    shifts, group = np.unique(hamiltonian.x, return_inverse=True)
    real = not np.any(np.bitwise_count(hamiltonian.x & hamiltonian.z) & 1)
    diagonals = np.zeros((len(shifts), len(states)), dtype=np.float64 if real else np.complex128)
    for x, z, coefficient, row in zip(
        hamiltonian.x, hamiltonian.z, hamiltonian.coefficients, group, strict=True
    ):
        phase = 1j ** int(x & z).bit_count()
        factor = coefficient * (phase.real if real else phase)
        diagonals[row] += factor * (1 - 2 * parity((states ^ x) & z))
    return Observable(jnp.asarray(shifts), jnp.asarray(diagonals))


def observable_bytes(hamiltonian: PauliSum) -> int:
    """Memory that `observable_of` needs."""
    real = not np.any(np.bitwise_count(hamiltonian.x & hamiltonian.z) & 1)
    return len(np.unique(hamiltonian.x)) * (8 if real else 16) << hamiltonian.n_qubits


def ground_of(ground: GroundSpace) -> Ground:
    """The ground space as arrays."""
    separate = ground.amplitudes is None
    amplitudes = np.ones((1, len(ground.support))) if ground.amplitudes is None else ground.amplitudes
    return Ground(jnp.asarray(ground.support), jnp.asarray(amplitudes), jnp.asarray(separate))


def initial_state(circuit: Circuit) -> jax.Array:
    """The product state that a circuit starts from."""
    size = 1 << circuit.n_qubits
    if circuit.initial_plus:
        return jnp.full(size, size**-0.5, dtype=jnp.complex128)
    return jnp.zeros(size, dtype=jnp.complex128).at[circuit.initial_state].set(1.0)


def _sign(states: jax.Array, mask: jax.Array) -> jax.Array:
    return 1.0 - 2.0 * (jax.lax.population_count(states & mask) & 1)


def _generate(psi: jax.Array, states: jax.Array, row: Rotations) -> tuple[jax.Array, jax.Array]:
    """(A psi, active) for the anti-Hermitian A of U = exp(angle/2 A); A psi is zero where inactive."""
    on = states & row.x
    up, down = on == row.source, on == (row.source ^ row.x)
    direction = jnp.where(row.excitation, 1.0 * up - 1.0 * down, 1.0)
    active = ~row.excitation | up | down
    factor = row.unit * (direction * _sign(states, row.z))
    return factor * psi[states ^ row.x], active


def _rotate(psi: jax.Array, states: jax.Array, row: Rotations, angle: jax.Array) -> jax.Array:
    generated, active = _generate(psi, states, row)
    cosine = jnp.where(active, jnp.cos(angle / 2), 1.0)
    return cosine * psi + jnp.sin(angle / 2) * generated


def evolve(psi: jax.Array, rotations: Rotations, angles: jax.Array) -> jax.Array:
    """The state after all rotations."""
    states = jnp.arange(psi.shape[0])

    def step(psi: jax.Array, row: tuple[Rotations, jax.Array]) -> tuple[jax.Array, None]:
        return _rotate(psi, states, *row), None

    return jax.lax.scan(step, psi, (rotations, angles))[0]


def apply_observable(observable: Observable, psi: jax.Array) -> jax.Array:
    """H psi."""
    states = jnp.arange(psi.shape[0])

    def add(total: jax.Array, term: Observable) -> tuple[jax.Array, None]:
        return total + term.diagonals * psi[states ^ term.shifts], None

    return jax.lax.scan(add, jnp.zeros_like(psi), observable)[0]


def _energy_and_gradient(
    psi0: jax.Array, rotations: Rotations, observable: Observable, angles: jax.Array
) -> tuple[jax.Array, jax.Array]:
    return reverse_pass(evolve(psi0, rotations, angles), rotations, observable, angles)


def reverse_pass(
    psi: jax.Array, rotations: Rotations, observable: Observable, angles: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Energy and its derivative by each angle (adjoint)."""
    adjoint = apply_observable(observable, psi)
    return jnp.vdot(psi, adjoint).real, derivatives(psi, adjoint, rotations, angles)


def derivatives(psi: jax.Array, adjoint: jax.Array, rotations: Rotations, angles: jax.Array) -> jax.Array:
    """Of 2 Re <adjoint|psi> by each angle that prepared psi: Re <adjoint_r| A_r |psi_r> (adjoint)."""
    states = jnp.arange(psi.shape[0])

    def step_back(
        carry: tuple[jax.Array, jax.Array], row: tuple[Rotations, jax.Array]
    ) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
        psi, adjoint = carry
        rotation, angle = row
        derivative = jnp.vdot(adjoint, _generate(psi, states, rotation)[0]).real
        return (
            _rotate(psi, states, rotation, -angle),
            _rotate(adjoint, states, rotation, -angle),
        ), derivative

    return jax.lax.scan(step_back, (psi, adjoint), (rotations, angles), reverse=True)[1]


def fidelity(psi: jax.Array, ground: Ground) -> jax.Array:
    amplitudes = psi[ground.support]
    separate = jnp.sum(jnp.abs(amplitudes) ** 2)
    return jnp.where(ground.separate, separate, jnp.sum(jnp.abs(ground.amplitudes @ amplitudes) ** 2))


@partial(jax.jit, static_argnames="chunk")
def energies_and_gradients(
    psi0: jax.Array, rotations: Rotations, observable: Observable, angles: jax.Array, *, chunk: int
) -> tuple[jax.Array, jax.Array]:
    """Energies (points,) and angle gradients (points, rotations), `chunk` points at a time."""
    return jax.lax.map(partial(_energy_and_gradient, psi0, rotations, observable), angles, batch_size=chunk)


def metric(state: Callable[[jax.Array], jax.Array], angles: jax.Array, jacobian: jax.Array) -> jax.Array:
    """Fubini-Study metric by parameters at one point, shape (d, d) (arXiv:1909.02108).

    Args:
        state: prepares the state from the angles.
        jacobian: d angles / d parameters, shape (rotations, d).
    """
    psi, push = jax.linearize(state, angles)
    tangents = jax.lax.map(push, jacobian.T)
    overlaps = tangents.conj() @ psi
    return (tangents.conj() @ tangents.T - jnp.outer(overlaps, overlaps.conj())).real
