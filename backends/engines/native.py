"""Excitations in a sector by kernels in C, which touch only the determinants that move.

Where they are not available, `backends.engines.gathers` does the same through XLA, some
five times slower.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from backends.engines.compiled import Kernels, like
from backends.engines.program import capacity
from problems.sparse_rows import SparseRows

KERNELS = Kernels("excitations.c", ("rotate", "derivatives", "tangents", "couple"))


class Pairs(NamedTuple):
    """Rotations as the pairs of determinants that they turn; see `backends.engines.gathers.Excitations`.

    Attributes:
        starts: int32, shape (rows + 1,): row k has the pairs of starts[k] to starts[k + 1].
        first, second: int32, shape (pairs,): of (i, j), psi[i] takes + sin(a/2) psi[j].
    """

    starts: jax.Array
    first: jax.Array
    second: jax.Array

    @classmethod
    def of(cls, first: Sequence[np.ndarray], second: Sequence[np.ndarray], length: int) -> Pairs:
        """From the pairs of each row; arrays of `length` pairs, so that other circuits share their shape."""
        starts = np.cumsum([0, *map(len, first)])
        flat = np.zeros((2, length), dtype=np.int32)
        flat[:, : starts[-1]] = np.concatenate(first), np.concatenate(second)
        return cls(jnp.asarray(starts, dtype=jnp.int32), jnp.asarray(flat[0]), jnp.asarray(flat[1]))

    @property
    def rows(self) -> int:
        return len(self.starts) - 1

    def state(self, start: jax.Array, angles: jax.Array) -> jax.Array:
        return KERNELS.call("rotate", like(start), *self, angles, start)

    def derivatives(self, state: jax.Array, adjoint: jax.Array, angles: jax.Array) -> jax.Array:
        both = jnp.stack([state, adjoint])
        return KERNELS.call("derivatives", (like(angles), like(both)), *self, angles, both)[0]

    def tangents(self, start: jax.Array, angles: jax.Array, slopes: jax.Array) -> jax.Array:
        tangents = jax.ShapeDtypeStruct((slopes.shape[1], len(start)), start.dtype)
        return KERNELS.call("tangents", (tangents, like(start)), *self, angles, slopes, start)[0]


class CsrMatrix(NamedTuple):
    """H in compressed sparse rows, as `problems.sparse_rows.SparseRows`.

    There is room behind the last row, so that other geometries, with other zeros, share the arrays' shape.
    """

    starts: jax.Array
    columns: jax.Array
    values: jax.Array

    @classmethod
    def of(cls, matrix: SparseRows) -> CsrMatrix:
        padding = capacity(len(matrix.values)) - len(matrix.values)
        starts, columns = (
            matrix.starts.astype(np.int32),
            np.pad(matrix.columns.astype(np.int32), (0, padding)),
        )
        return cls(
            jnp.asarray(starts), jnp.asarray(columns), jnp.asarray(np.pad(matrix.values, (0, padding)))
        )

    def apply(self, psi: jax.Array) -> jax.Array:
        return KERNELS.call("couple", like(psi), *self, psi)
