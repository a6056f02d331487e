"""The general engine's fused form: blocks of a few qubits, each one matrix, in one jitted scan.

A block's qubits are brought to the lowest bits of the index, where its matrix is one product with the state
as a (2^(n - k), 2^k) matrix. Matrices and permutations are arguments of the scan, so compile time does not
grow with depth. The reverse pass un-applies blocks as `backends.statevector` un-applies rotations
(arXiv:2009.02823); of each block it keeps the 2^k x 2^k overlap of the two states, from which the derivatives
by all its angles follow on small matrices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from backends import statevector as sv
from backends.engines.fusion import Block, bit_permutation, extract_bits, fuse, orders
from backends.engines.program import capacity
from backends.engines.whole_state import WholeState
from problems.circuit import Circuit

WORTH_IT = 3.0
"""Rotations that a block must have in the mean: about as many passes as its own costs."""
_LARGE = 16
"""Qubits from which on a block takes four of them: below, its small matrices cost more than the state."""
_TOGETHER = 64
"""Blocks whose small matrices are worked out together."""


class _Permutation(NamedTuple):
    """Reordering of a state's bits, there and back; see `fusion.bit_permutation`."""

    low: jax.Array
    high: jax.Array
    back_low: jax.Array
    back_high: jax.Array


class _Blocks(NamedTuple):
    """B blocks of at most m rotations each; identities fill both up.

    Attributes:
        rotations: on the block's own bits, (B, m).
        slots: (B, m) which angle each takes; one beyond the last is zero.
        into: from the order of the block before to its own, (B, ...).
    """

    rotations: sv.Rotations
    slots: jax.Array
    into: _Permutation


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class FusedProgram(WholeState):
    """As `backends.engines.Program`; states are complex128, shape (2^n,)."""

    initial: jax.Array
    blocks: _Blocks
    home: _Permutation
    observable: sv.Observable | None
    rows: int = field(metadata={"static": True})
    size: int = field(metadata={"static": True})
    """Qubits of a block."""

    def state(self, angles: jax.Array) -> jax.Array:
        def step(psi: jax.Array, row: tuple[_Permutation, jax.Array]) -> tuple[jax.Array, None]:
            into, matrix = row
            return _times(_there(psi, into), _real_matrix(matrix)), None

        rows = (self.blocks.into, self._matrices(angles))
        psi, _ = jax.lax.scan(step, _real_states(self.initial[None]), rows)
        return jax.lax.complex(*jnp.moveaxis(_there(psi, self.home)[0], 1, 0))

    def gradient(self, state: jax.Array, angles: jax.Array) -> tuple[jax.Array, jax.Array]:
        assert self.observable is not None
        adjoint = sv.apply_observable(self.observable, state)

        def step_back(pair: jax.Array, row: tuple[_Permutation, jax.Array]) -> tuple[jax.Array, jax.Array]:
            into, matrix = row
            before = _times(pair, _real_matrix(matrix.conj().T))
            return _back(before, into), _overlap(before[0], pair[1], len(matrix))

        rows = (self.blocks.into, self._matrices(angles))
        ends = _back(_real_states(jnp.stack([state, adjoint])), self.home)
        _, overlaps = jax.lax.scan(step_back, ends, rows, reverse=True)
        return jnp.vdot(state, adjoint).real, self._derivatives(angles, overlaps)

    def _taken(self, angles: jax.Array) -> jax.Array:
        return jnp.append(angles, 0.0)[self.blocks.slots]

    def _matrices(self, angles: jax.Array) -> jax.Array:
        """The blocks' transposed matrices, (B, 2^k, 2^k)."""
        rows = (self.blocks.rotations, self._taken(angles))
        return jax.lax.map(lambda row: self._matrix(*row), rows, batch_size=_TOGETHER)

    def _matrix(self, rotations: sv.Rotations, angles: jax.Array) -> jax.Array:
        """The transposed product of a block's rotations: its rows are what becomes of the basis states."""
        basis_states = jnp.eye(1 << self.size, dtype=jnp.complex128)
        return jax.vmap(sv.evolve, in_axes=(0, None, None))(basis_states, rotations, angles)

    def _derivatives(self, angles: jax.Array, overlaps: jax.Array) -> jax.Array:
        """d <psi|H|psi> / d angles = 2 Re tr(overlap^T d matrix), summed over the blocks."""

        def of_block(row: tuple[sv.Rotations, jax.Array, jax.Array]) -> jax.Array:
            rotations, taken, overlap = row
            columns = jax.vmap(sv.derivatives, in_axes=(0, 0, None, None))
            return columns(self._matrix(rotations, taken), overlap.conj(), rotations, taken).sum(axis=0)

        rows = (self.blocks.rotations, self._taken(angles), overlaps)
        found = jax.lax.map(of_block, rows, batch_size=_TOGETHER)
        return jnp.zeros(self.rows + 1).at[self.blocks.slots].add(found)[: self.rows]


def fused_program(
    circuit: Circuit, initial: jax.Array, observable: sv.Observable | None, rows: int
) -> FusedProgram | None:
    """The program of a circuit, None where fusion does not pay.

    Args:
        rows: angles that it shall take.
    """
    size = block_qubits(circuit.n_qubits)
    blocks = fuse((circuit.x | circuit.z).tolist(), size) if circuit.n_qubits >= size else None
    if not blocks or len(circuit) < WORTH_IT * len(blocks):
        return None
    blocks += [Block(0)] * (capacity(len(blocks), least=8) - len(blocks))
    natural = list(range(circuit.n_qubits))
    visited = [natural, *orders(blocks, circuit.n_qubits, size)]
    into = [_permutation(*pair) for pair in pairwise(visited)]
    return FusedProgram(
        initial,
        _Blocks(
            *_local_rotations(circuit, blocks, [order[:size] for order in visited[1:]], rows),
            _Permutation(*(jnp.asarray(np.stack(tables)) for tables in zip(*into, strict=True))),
        ),
        _Permutation(*map(jnp.asarray, _permutation(visited[-1], natural))),
        observable,
        rows,
        size,
    )


def block_qubits(n_qubits: int) -> int:
    """Qubits of a block."""
    return 4 if n_qubits >= _LARGE else 3


def _local_rotations(
    circuit: Circuit, blocks: Sequence[Block], qubits: Sequence[Sequence[int]], rows: int
) -> tuple[sv.Rotations, jax.Array]:
    """The rotations of each block on its own bits, and the angles that they take."""
    longest = capacity(max(len(block.rotations) for block in blocks), least=8)
    slots = np.full((len(blocks), longest), rows, dtype=np.int32)
    for at, block in enumerate(blocks):
        slots[at, : len(block.rotations)] = block.rotations
    table = sv.rotations_of(circuit, rows + 1)

    def moved(masks: jax.Array) -> jax.Array:
        of_blocks = zip(np.asarray(masks)[slots], qubits, strict=True)
        return jnp.asarray(np.stack([extract_bits(mask, own) for mask, own in of_blocks]))

    local = sv.Rotations(
        moved(table.x), moved(table.z), moved(table.source), table.excitation[slots], table.unit[slots]
    )
    return local, jnp.asarray(slots)


def _permutation(before: Sequence[int], after: Sequence[int]) -> tuple[np.ndarray, ...]:
    return (*bit_permutation(before, after), *bit_permutation(after, before))


def _there(states: jax.Array, to: _Permutation) -> jax.Array:
    return _picked(states, to.high, to.low)


def _back(states: jax.Array, to: _Permutation) -> jax.Array:
    return _picked(states, to.back_high, to.back_low)


def _picked(states: jax.Array, high: jax.Array, low: jax.Array) -> jax.Array:
    return states.at[:, (high[:, None] | low).reshape(-1)].get(mode="promise_in_bounds")


def _real_states(states: jax.Array) -> jax.Array:
    """States (count, 2^n) as pairs of real and imaginary part, (count, 2^n, 2): real products are quicker."""
    return jnp.stack([states.real, states.imag], axis=-1)


def _real_matrix(matrix: jax.Array) -> jax.Array:
    """What multiplies rows of such pairs as `matrix` multiplies rows of amplitudes."""
    pairs = jnp.stack(
        [
            jnp.stack([matrix.real, matrix.imag], axis=-1),
            jnp.stack([-matrix.imag, matrix.real], axis=-1),
        ],
        axis=1,
    )
    return pairs.reshape(2 * len(matrix), 2 * len(matrix))


def _times(states: jax.Array, matrix: jax.Array) -> jax.Array:
    return (states.reshape(len(states), -1, len(matrix)) @ matrix).reshape(states.shape)


def _overlap(psi: jax.Array, adjoint: jax.Array, size: int) -> jax.Array:
    """sum_r psi[r, c] adjoint[r, a]* over the other qubits, (size, size), of states as real pairs."""
    products = psi.reshape(-1, 2 * size).T @ adjoint.reshape(-1, 2 * size)
    (rr, ri), (ir, ii) = products.reshape(size, 2, size, 2).transpose(1, 3, 0, 2)
    return jax.lax.complex(rr + ii, ir - ri)
