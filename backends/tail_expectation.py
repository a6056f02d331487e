"""Conditional value at risk without sampling noise, and its gradient, on this machine's simulators."""

from __future__ import annotations

from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np

from backends import statevector as sv
from backends.device import Expectations
from backends.engines.diagonal import DiagonalProgram
from backends.engines.program import padded
from backends.jax_device import program_of
from measurement import clipped, quantile
from problems.circuit import Circuit
from problems.pauli import PauliSum


def tail_expectation(
    circuit: Circuit, hamiltonian: PauliSum, angles: np.ndarray, alpha: float, *, gradient: bool
) -> Expectations:
    """CVaR of a diagonal Hamiltonian's distribution at `angles`, shape (points, rotations), in radians.

    The gradient is that of the clipped energies at the fixed quantile (`measurement.tail`), by the adjoint
    method. Where the quantile jumps between two levels CVaR has a kink, and this is one of its slopes.
    """
    program = program_of(circuit, hamiltonian)
    if not isinstance(program, DiagonalProgram):
        return of_any(circuit, hamiltonian, angles, alpha, gradient=gradient)
    points = padded(angles, program.rows)
    if not gradient:
        return Expectations(np.asarray(_values(program, points, alpha)))
    values, gradients = _values_and_gradients(program, points, alpha)
    return Expectations(np.asarray(values), np.asarray(gradients)[:, : len(circuit)])


@jax.jit
def _values(program: DiagonalProgram, points: jax.Array, alpha: float) -> jax.Array:
    return jax.lax.map(lambda angles: program.cvar(program.state(angles), jnp.asarray(alpha)), points)


@jax.jit
def _values_and_gradients(
    program: DiagonalProgram, points: jax.Array, alpha: float
) -> tuple[jax.Array, jax.Array]:
    def at(angles: jax.Array) -> tuple[jax.Array, jax.Array]:
        return program.cvar_gradient(program.state(angles), angles, jnp.asarray(alpha))

    return jax.lax.map(at, points)


def of_any(
    circuit: Circuit, hamiltonian: PauliSum, angles: np.ndarray, alpha: float, *, gradient: bool
) -> Expectations:
    """As `tail_expectation`, of any circuit, by its whole state."""
    psi0, rotations = _circuit_arrays(circuit)
    energies = _energies(hamiltonian)
    rows = sv.padded_angles(angles, len(rotations.x))
    values, gradients = [], []
    for row in rows:
        probabilities = np.asarray(_probabilities(psi0, rotations, row))
        risk = clipped(energies, quantile(energies, probabilities, alpha), alpha)
        values.append(probabilities @ risk / probabilities.sum())
        if gradient:
            observable = sv.Observable(jnp.zeros(1, dtype=jnp.int64), jnp.asarray(risk[None, :]))
            _, slopes = sv.energies_and_gradients(psi0, rotations, observable, row[None, :], chunk=1)
            gradients.append(np.asarray(slopes)[0, : len(circuit)])
    return Expectations(np.array(values), np.array(gradients) if gradient else None)


@jax.jit
def _probabilities(psi0: jax.Array, rotations: sv.Rotations, angles: jax.Array) -> jax.Array:
    return jnp.abs(sv.evolve(psi0, rotations, angles)) ** 2


@lru_cache(maxsize=8)
def _circuit_arrays(circuit: Circuit) -> tuple[jax.Array, sv.Rotations]:
    return sv.initial_state(circuit), sv.rotations_of(circuit)


@lru_cache(maxsize=4)
def _energies(hamiltonian: PauliSum) -> np.ndarray:
    return hamiltonian.diagonal()
