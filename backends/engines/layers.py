"""Layers of QAOA by kernels in C, in few passes over memory and on all cores; see `kernels/layers.c`.

States are as in `backends.engines.diagonal`, which does the same through XLA where there are no kernels.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from backends.engines.compiled import Kernels, like

HELD_MIN = 4
"""Qubits that a state must be held over, at least: two runs of the numbers that a core takes at once."""

KERNELS = {real: Kernels("layers.c", ("apply_layer", "undo_layer"), real) for real in ("double", "float")}


class Phases(NamedTuple):
    """Of a cost layer: cos and sin of each basis state's exponent, or of every level's.

    Attributes:
        level_of: uint8 or uint16 index into both of each basis state; None where there is no table.
    """

    cosines: jax.Array
    sines: jax.Array
    level_of: jax.Array | None


def available(held: int, dtype: np.dtype) -> bool:
    """Whether there are kernels for states of real numbers of a kind over so many qubits."""
    return held >= HELD_MIN and _kernels(dtype).available()


def apply_layer(state: jax.Array, phases: Phases, rotations: jax.Array) -> jax.Array:
    """A state (2, 2**m) after a cost layer and the mixer of rotations (n, 2, 2)."""
    return _kernels(state.dtype).call(
        "apply_layer", like(state), *_layer(phases, rotations), state, in_place=4
    )


def undo_layer(
    both: jax.Array, phases: Phases, rotations: jax.Array, strings: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """State and adjoint (4, 2**m) before a layer, and the derivatives by its strings and rotations (r + n,).

    The phases and rotations are those that undo the layer's.
    """
    derivatives = jax.ShapeDtypeStruct((len(strings) + len(rotations),), both.dtype)
    results = like(both), derivatives
    return _kernels(both.dtype).call(
        "undo_layer", results, *_layer(phases, rotations), both, strings, in_place=4
    )


def _layer(phases: Phases, rotations: jax.Array) -> tuple[jax.Array, ...]:
    no_table = jnp.zeros(0, jnp.uint8)
    return phases.cosines, phases.sines, no_table if phases.level_of is None else phases.level_of, rotations


def _kernels(dtype: np.dtype) -> Kernels:
    return KERNELS["double" if dtype == np.float64 else "float"]
