"""Gate fusion: rotations on few qubits gathered into blocks, so that a state is passed over once a block.

As in arXiv:1704.01127, section III.B. Rotations that share no qubit commute, so one may join any block from
the last that it overlaps on. Plain numpy; `backends.engines.fused` runs what comes out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np


@dataclass
class Block:
    """Rotations that are applied together: their numbers in the circuit, and the qubits they act on."""

    qubits: int
    rotations: list[int] = field(default_factory=list)

    def growth(self, support: int) -> int:
        """Qubits that it would have to take up."""
        return (support & ~self.qubits).bit_count()

    def fits(self, support: int, size: int) -> bool:
        return (support | self.qubits).bit_count() <= size

    def add(self, rotation: int, support: int) -> None:
        self.qubits |= support
        self.rotations.append(rotation)


def fuse(supports: Sequence[int], size: int) -> list[Block] | None:
    """Blocks of at most `size` qubits whose product, in order, is that of the rotations.

    Args:
        supports: masks of the qubits that each rotation acts on, in order of application.

    Returns:
        None where a rotation acts on more than `size` qubits.
    """
    blocks: list[Block] = []
    for rotation, support in enumerate(supports):
        if support.bit_count() > size:
            return None
        last = next((b for b in reversed(range(len(blocks))) if blocks[b].qubits & support), -1)
        open_to_it = [block for block in blocks[max(last, 0) :] if block.fits(support, size)]
        if not open_to_it:
            blocks.append(Block(0))
        min(open_to_it or blocks[-1:], key=lambda block: block.growth(support)).add(rotation, support)
    return blocks


def orders(blocks: Sequence[Block], n_qubits: int, size: int) -> list[list[int]]:
    """For each block the qubits by bit position: its own among the lowest `size`, the others as before."""
    found, order = [], list(range(n_qubits))
    for block in blocks:
        own = [q for q in order if block.qubits >> q & 1]
        others = [q for q in order if not block.qubits >> q & 1]
        order = sorted(own + others[: size - len(own)]) + others[size - len(own) :]
        found.append(order)
    return found


def bit_permutation(before: Sequence[int], after: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Where each index of the order `after` was in the order `before`, as tables of its low and high bits.

    Returns:
        low (2^h,) and high (2^(n - h),) with index = high[i >> h] | low[i & (2^h - 1)], h = n // 2.
    """
    at = {qubit: position for position, qubit in enumerate(before)}
    to = [at[qubit] for qubit in after]
    half = len(to) // 2
    return _spread(to[:half]), _spread(to[half:])


def _spread(to: Sequence[int]) -> np.ndarray:
    values = np.arange(1 << len(to), dtype=np.int32)
    return sum(((values >> bit & 1) << target for bit, target in enumerate(to)), np.zeros_like(values))


def extract_bits(masks: np.ndarray, qubits: Sequence[int]) -> np.ndarray:
    """The bits of masks at `qubits`, moved to the lowest positions."""
    return sum(((masks >> qubit & 1) << at for at, qubit in enumerate(qubits)), np.zeros_like(masks))
