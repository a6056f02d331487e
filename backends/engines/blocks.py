"""Products of one-qubit matrices on real vectors over basis states, as blocked matrix products in cache.

A vector is seen as a matrix, the upper qubits its rows and the lower ones its columns. The lower qubits are
worked on a few rows at a time and the upper ones a few columns at a time, each piece small enough for a
core's cache; so a product passes over memory twice, whatever its number of qubits. The rows are as long as a
piece can hold, since long runs of memory are read faster. In a piece, the qubits of a block become one small
matrix, and the work runs at the speed of matrix multiplication.

Vectors have shape (channels, 2**n); qubit q is bit q of the index. Factors have shape (n, 2, 2).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np

BLOCK_QUBITS_MAX = 6
"""Larger blocks cost more arithmetic than the passes over the cache that they save."""

PIECE_BITS = 17
"""Numbers in a piece: 1 MiB in double precision, what a core has or half of it."""

_ROWS_BITS = 2
"""Rows of a piece of the lower qubits."""

_WIDTH_MIN = 8
"""Columns are read by whole cache lines."""

_PRECISION = jax.lax.Precision.HIGHEST
"""Accelerators round the factors of single-precision products otherwise."""


def apply_product(vectors: jax.Array, factors: jax.Array) -> jax.Array:
    """(factors[n-1] x ... x factors[0]) on every channel."""
    return _walk(vectors, factors, lambda piece, blocks: jnp.zeros(0, vectors.dtype))[0]


def walsh_hadamard(vectors: jax.Array) -> jax.Array:
    """sum_j (-1)^{|j & k|} v[j], unnormalised, on every channel."""
    n = vectors.shape[-1].bit_length() - 1
    matrix = jnp.array([[1, 1], [1, -1]], dtype=vectors.dtype)
    return apply_product(vectors, jnp.broadcast_to(matrix, (n, 2, 2)))


def apply_and_pair(vectors: jax.Array, factors: jax.Array) -> tuple[jax.Array, jax.Array]:
    """`apply_product` of rotations exp(a_q G_q), and <left| G_q |right>, where G = [[0, -1], [1, 0]].

    The first half of the channels is `right`, the second `left`; the elements are summed over channels,
    shape (n,). They are the same before and after the rotations, which commute with every G_q: so each piece
    is paired when it passes.
    """
    return _walk(vectors, factors, _generator_elements)


def _walk(
    vectors: jax.Array, factors: jax.Array, look: Callable[[jax.Array, list[int]], jax.Array]
) -> tuple[jax.Array, jax.Array]:
    """Apply all factors, and sum over pieces what `look` finds in each, by qubit."""
    shape, n = vectors.shape, factors.shape[0]
    held = PIECE_BITS - (shape[0] - 1).bit_length()
    lower = n if n <= held else held - _ROWS_BITS
    matrix = vectors.reshape(shape[0], 1 << (n - lower), 1 << lower)
    matrix, found = _sweep(matrix, 2, factors[:lower], look)
    if lower < n:
        matrix, more = _sweep(matrix, 1, factors[lower:], look)
        found = jnp.concatenate([found, more])
    return matrix.reshape(shape), found


def _sweep(
    matrix: jax.Array,
    axis: int,
    factors: jax.Array,
    look: Callable[[jax.Array, list[int]], jax.Array],
) -> tuple[jax.Array, jax.Array]:
    """Apply factors to one axis of (channels, rows, columns), piece after piece of the other."""
    other = 3 - axis
    channels = matrix.shape[0]
    at_once = (1 << PIECE_BITS) // (channels * matrix.shape[axis])
    width = min(matrix.shape[other], max(at_once, _WIDTH_MIN))
    sizes = [channels, matrix.shape[1], matrix.shape[2]]
    sizes[other] = width
    blocks = _block_widths(factors.shape[0])
    matrices = _block_matrices(factors, blocks)

    def piece_at(at: jax.Array | int, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        matrix, found = carry
        start = [0, 0, 0]
        start[other] = at * width  # pyright: ignore
        piece = jax.lax.dynamic_slice(matrix, start, sizes)
        lead = jnp.moveaxis(piece, axis, 0)
        lead = _apply(lead.reshape(lead.shape[0], -1), matrices).reshape(lead.shape)
        found = found + look(lead, blocks)
        return jax.lax.dynamic_update_slice(matrix, jnp.moveaxis(lead, 0, axis), start), found

    nothing = jnp.zeros(jax.eval_shape(lambda: look(jnp.zeros((sizes[axis], channels, width)), blocks)).shape)
    carry = matrix, nothing.astype(matrix.dtype)
    return jax.lax.fori_loop(0, matrix.shape[other] // width, piece_at, carry)


def _block_widths(count: int) -> list[int]:
    """Qubits of as few, as equal blocks as hold `count`, from the highest."""
    blocks = -(-count // BLOCK_QUBITS_MAX)
    return [count // blocks + (i < count % blocks) for i in range(blocks)]


def _block_matrices(factors: jax.Array, widths: list[int]) -> list[jax.Array]:
    """The matrix of each block, from the highest qubits."""
    ends = (factors.shape[0] - np.cumsum([0, *widths])).tolist()
    return [reduce(jnp.kron, factors[low:high][::-1]) for high, low in pairwise(ends)]


def _apply(piece: jax.Array, matrices: list[jax.Array]) -> jax.Array:
    """Blocks on the leading axis of (2**count, rest), as stacks of matrix products."""
    shape, above = piece.shape, 1
    for matrix in matrices:
        size = matrix.shape[0]
        stack = piece.reshape(above, size, -1)
        # one factor for each of the stack: XLA transposes the stack where the factor is shared
        each = jax.lax.optimization_barrier(jnp.broadcast_to(matrix, (above, size, size)))
        piece = jax.lax.dot_general(each, stack, (((2,), (1,)), ((0,), (0,))), precision=_PRECISION)
        above *= size
    return piece.reshape(shape)


def _generator_elements(piece: jax.Array, widths: list[int]) -> jax.Array:
    """<left| G_q |right> in a piece (2**count, channels, width), lowest qubit first, shape (count,)."""
    right, left = jnp.split(piece, 2, axis=1)
    above, found = 1, []
    for width in widths:
        size = 1 << width
        pair = [half.reshape(above, size, -1) for half in (left, right)]
        crossed = jax.lax.dot_general(*pair, (((2,), (2,)), ((0,), (0,))), precision=_PRECISION).sum(axis=0)
        states, qubits = np.arange(size), np.arange(width)[:, None]
        sign = (2.0 * (states >> qubits & 1) - 1.0).astype(crossed.dtype)
        found.append((crossed[states, states ^ (1 << qubits)] * sign).sum(axis=1))
        above *= size
    return jnp.concatenate(found[::-1])
