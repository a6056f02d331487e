"""Excitations in a sector through XLA, on any device: each rotation is a gather over all determinants.

psi[k] -> cos(a/2) psi[k] + sin(a/2) sign[k] psi[partner[k]] where sign[k] is not 0. Where there is a C
compiler, `backends.engines.native` does the same in a fifth of the time.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from problems.sparse_rows import SparseRows

jax.config.update("jax_enable_x64", True)

_DENSE_GAIN = 8
"""A dense product handles so many elements in the time that a gather takes for one."""

_TOGETHER_MAX = 4096
"""Up to so many determinants state and adjoint are one array: small ones cost by the kernel, not by size."""


class Excitations(Protocol):
    """The rotations of a program, in order, on real states of shape (dimension,); angles have shape (rows,).

    Rows beyond those of the circuit turn nothing.
    """

    @property
    def rows(self) -> int: ...

    def state(self, start: jax.Array, angles: jax.Array) -> jax.Array:
        """The state after all rotations."""
        ...

    def derivatives(self, state: jax.Array, adjoint: jax.Array, angles: jax.Array) -> jax.Array:
        """Of <psi|H|psi> by every angle, (rows,), from psi after all rotations and the adjoint H psi.

        The adjoint method, which recomputes states on the way back (arXiv:2009.02823, algorithm 1).
        """
        ...

    def tangents(self, start: jax.Array, angles: jax.Array, slopes: jax.Array) -> jax.Array:
        """d state / d parameters, (d, dimension); slopes are d angles / d parameters, (rows, d)."""
        ...


class Hamiltonian(Protocol):
    """A real symmetric matrix over the determinants."""

    def apply(self, psi: jax.Array) -> jax.Array:
        """Its product with a state."""
        ...


class Dense(NamedTuple):
    """H as a matrix, shape (dimension, dimension)."""

    matrix: jax.Array

    def apply(self, psi: jax.Array) -> jax.Array:
        return self.matrix @ psi


class EllMatrix(NamedTuple):
    """H in ELLPACK format: (H psi)[j] = sum over c of values[c, j] psi[columns[c, j]]."""

    columns: jax.Array
    values: jax.Array

    @classmethod
    def of(cls, matrix: SparseRows) -> EllMatrix:
        shape = int(matrix.lengths.max()), len(matrix)
        columns, values = np.zeros(shape, dtype=np.int32), np.zeros(shape)
        row = matrix.rows
        place = np.arange(len(row)) - matrix.starts[row]
        columns[place, row], values[place, row] = matrix.columns, matrix.values
        return cls(jnp.asarray(columns), jnp.asarray(values))

    def apply(self, psi: jax.Array) -> jax.Array:
        def add(total: jax.Array, part: EllMatrix) -> tuple[jax.Array, None]:
            return total + part.values * psi.at[part.columns].get(mode="promise_in_bounds"), None

        return jax.lax.scan(add, jnp.zeros_like(psi), self)[0]


def matrix_of(matrix: SparseRows) -> Dense | EllMatrix:
    """Whichever is quicker."""
    if len(matrix) <= _DENSE_GAIN * int(matrix.lengths.max()):
        return Dense(jnp.asarray(matrix.dense()))
    return EllMatrix.of(matrix)


class _Rotation(NamedTuple):
    """One row of the tables, (dimension,) each, at an angle; or all of them."""

    partner: jax.Array
    sign: jax.Array
    cosine: jax.Array
    sine: jax.Array

    def applied(self, psi: jax.Array) -> tuple[jax.Array, jax.Array]:
        """(states after the rotation, its generator applied to those before), shapes (..., dimension)."""
        generated = self.sign * psi.at[..., self.partner].get(mode="promise_in_bounds")
        return jnp.where(self.sign != 0, self.cosine, 1.0) * psi + self.sine * generated, generated


class Gathers(NamedTuple):
    """See `Excitations`.

    Attributes:
        partner, sign: int32 and int8, shape (rows, dimension); padding has signs of zero.
    """

    partner: jax.Array
    sign: jax.Array

    @property
    def rows(self) -> int:
        return len(self.partner)

    def state(self, start: jax.Array, angles: jax.Array) -> jax.Array:
        def step(psi: jax.Array, rotation: _Rotation) -> tuple[jax.Array, None]:
            return rotation.applied(psi)[0], None

        return jax.lax.scan(step, start, self._rotations(angles))[0]

    def derivatives(self, state: jax.Array, adjoint: jax.Array, angles: jax.Array) -> jax.Array:
        def together(both: jax.Array, rotation: _Rotation) -> tuple[jax.Array, jax.Array]:
            back, generated = rotation.applied(both)
            return back, both[1] @ generated[0]

        def apart(
            both: tuple[jax.Array, ...], rotation: _Rotation
        ) -> tuple[tuple[jax.Array, ...], jax.Array]:
            psi, adjoint = both
            back, generated = rotation.applied(psi)
            return (back, rotation.applied(adjoint)[0]), adjoint @ generated

        backwards = self._rotations(-angles)
        if len(state) <= _TOGETHER_MAX:
            return jax.lax.scan(together, jnp.stack([state, adjoint]), backwards, reverse=True)[1]
        return jax.lax.scan(apart, (state, adjoint), backwards, reverse=True)[1]

    def tangents(self, start: jax.Array, angles: jax.Array, slopes: jax.Array) -> jax.Array:
        def step(
            carry: tuple[jax.Array, jax.Array], row: tuple[_Rotation, jax.Array]
        ) -> tuple[tuple[jax.Array, jax.Array], None]:
            rotation, slope = row
            psi = rotation.applied(carry[0])[0]
            tangents = rotation.applied(carry[1])[0]
            return (psi, tangents + 0.5 * slope[:, None] * rotation.applied(psi)[1]), None

        none = jnp.zeros((slopes.shape[1], len(start)))
        return jax.lax.scan(step, (start, none), (self._rotations(angles), slopes))[0][1]

    def _rotations(self, angles: jax.Array) -> _Rotation:
        return _Rotation(self.partner, self.sign, jnp.cos(angles / 2), jnp.sin(angles / 2))
