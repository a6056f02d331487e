"""Products of one-qubit matrices on real vectors over basis states, as blocked matrix products.

The qubits of a block become one small matrix and the vector a stack of matrices, so that the work runs at
the speed of matrix multiplication and passes over memory n/5 times instead of n. The vector is transposed
between the upper and the lower half of its qubits, so that every block meets long contiguous rows.

Vectors have shape (channels, 2**n); qubit q is bit q of the index. Factors have shape (n, 2, 2).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

import jax
import jax.numpy as jnp
import numpy as np

BLOCK_QUBITS_MAX = 5
"""Larger blocks cost more arithmetic than the passes over memory that they save."""

_PRECISION = jax.lax.Precision.HIGHEST
"""Accelerators round the factors of single-precision products otherwise."""


def apply_product(vectors: jax.Array, factors: jax.Array) -> jax.Array:
    """(factors[n-1] x ... x factors[0]) on every channel."""
    return _walk(vectors, factors, lambda stack: None)


def walsh_hadamard(vectors: jax.Array) -> jax.Array:
    """sum_j (-1)^{|j & k|} v[j], unnormalised, on every channel."""
    n = vectors.shape[-1].bit_length() - 1
    matrix = jnp.array([[1, 1], [1, -1]], dtype=vectors.dtype)
    return apply_product(vectors, jnp.broadcast_to(matrix, (n, 2, 2)))


def apply_and_pair(vectors: jax.Array, factors: jax.Array) -> tuple[jax.Array, jax.Array]:
    """`apply_product` of rotations exp(a_q G_q), and <left| G_q |right> of every qubit, G = [[0, -1], [1, 0]].

    The first half of the channels is `right`, the second `left`; the elements are summed over channels,
    shape (n,). They are the same before and after the rotations, which commute with every G_q: so each block
    is paired when it passes.
    """
    found: list[jax.Array] = []
    rotated = _walk(vectors, factors, lambda stack: found.append(_generator_elements(stack)))
    n = factors.shape[0]
    lower = _lower_half(n)
    upper = len(_widths(n - lower))
    # blocks pass from the top: the upper half's first, then the lower half's
    return rotated, jnp.concatenate([*found[upper:][::-1], *found[:upper][::-1]])


def _walk(vectors: jax.Array, factors: jax.Array, look: Callable[[jax.Array], None]) -> jax.Array:
    """Apply block after block; `look` sees each result as (channels * above, block, below)."""
    shape, n = vectors.shape, factors.shape[0]
    lower = _lower_half(n)
    for first, count in ((lower, n - lower), (0, lower)):
        above = 0
        for width in _widths(count):
            high = first + count - above
            stack = vectors.reshape(shape[0] << above, 1 << width, 1 << (n - above - width))
            vectors = _multiply(_kron(factors[high - width : high]), stack)
            look(vectors)
            above += width
        vectors = vectors.reshape(shape[0], 1 << count, 1 << (n - count)).swapaxes(1, 2)
    return vectors.reshape(shape)


def _lower_half(n: int) -> int:
    return n // 2 if n > BLOCK_QUBITS_MAX else 0


def _widths(count: int) -> list[int]:
    """Sizes of as few, as equal blocks as hold `count` qubits."""
    blocks = -(-count // BLOCK_QUBITS_MAX)
    return [count // blocks + (i < count % blocks) for i in range(blocks)]


def _kron(factors: jax.Array) -> jax.Array:
    return reduce(jnp.kron, factors[::-1])


def _multiply(matrix: jax.Array, stack: jax.Array) -> jax.Array:
    """matrix @ each of the stack; as a batched product, which runs in place where XLA would transpose."""
    matrices = jnp.broadcast_to(matrix, (stack.shape[0], *matrix.shape))
    matrices = jax.lax.optimization_barrier(matrices)
    return jax.lax.dot_general(matrices, stack, (((2,), (1,)), ((0,), (0,))), precision=_PRECISION)


def _generator_elements(stack: jax.Array) -> jax.Array:
    """<left| G_q |right> for the qubits of a block, lowest first, shape (width,)."""
    right, left = jnp.split(stack, 2)
    crossed = jax.lax.dot_general(left, right, (((2,), (2,)), ((0,), (0,))), precision=_PRECISION).sum(axis=0)
    states = np.arange(stack.shape[1])
    qubits = np.arange(stack.shape[1].bit_length() - 1)[:, None]
    sign = 2.0 * (states >> qubits & 1) - 1.0
    return (crossed[states, states ^ (1 << qubits)] * sign.astype(crossed.dtype)).sum(axis=1)
