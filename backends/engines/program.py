"""The contract of every exact engine, stated once."""

from __future__ import annotations

from typing import Any, Protocol

import jax
import numpy as np

from problems.circuit import Circuit
from problems.problem import GroundSpace, Observable


class Program(Protocol):
    """A circuit and an observable made ready to run.

    A pytree of arrays: the methods are pure and traceable, so a whole optimization loop around them
    compiles to one call, and circuits of equal shapes share it. States are the engine's own affair; only
    these methods read them. Angles have shape (rows,), in radians.
    """

    @property
    def rows(self) -> int:
        """Angles that the program takes; those beyond the circuit's rotations do nothing."""
        ...

    def state(self, angles: jax.Array) -> jax.Array:
        """The state after all rotations."""
        ...

    def energy(self, state: jax.Array) -> jax.Array:
        """() expectation value of the observable."""
        ...

    def gradient(self, state: jax.Array, angles: jax.Array) -> tuple[jax.Array, jax.Array]:
        """(energy, its derivative by every angle, shape (rows,)) at the state that the angles prepare."""
        ...

    def metric(self, angles: jax.Array, jacobian: jax.Array) -> jax.Array:
        """Fubini-Study metric (d, d) by parameters; jacobian is d angles / d parameters, (rows, d)."""
        ...

    def fidelity(self, state: jax.Array, ground: Any) -> jax.Array:
        """() weight of the state on a ground space, as `Engine.ground` gives it."""
        ...

    @property
    def basis_states(self) -> jax.Array:
        """int64 basis states that can be measured, ascending."""
        ...

    def probabilities(self, state: jax.Array) -> jax.Array:
        """Of each of the basis states."""
        ...

    def statevector(self, state: jax.Array) -> jax.Array:
        """The state over all 2^n basis states, complex128."""
        ...


class Engine(Protocol):
    """Makes programs for the circuits that it accepts."""

    def accepts(self, circuit: Circuit, observable: Observable | None) -> bool:
        """Whether this engine can run the circuit; without an observable it prepares states only."""
        ...

    def bytes_needed(self, circuit: Circuit, observable: Observable | None) -> int:
        """Memory that its program takes at one point."""
        ...

    def program(self, circuit: Circuit, observable: Observable | None) -> Program:
        """The program; kept for as long as the circuit is in use."""
        ...

    def ground(self, circuit: Circuit, ground: GroundSpace) -> Any:
        """A ground space as a pytree for `Program.fidelity`."""
        ...

    def state_bytes(self, circuit: Circuit) -> int:
        """Memory of one point's evaluation beside the program."""
        ...


def capacity(count: int, least: int = 64) -> int:
    """`count` or a little more: growing circuits meet few shapes, four an octave, and so few compilations."""
    step = max(least, 1 << max(0, int(count - 1).bit_length() - 1)) // 4
    return max(least, -(-count // step) * step)


def padded(angles: np.ndarray, rows: int) -> np.ndarray:
    """Angles (points, rotations) padded with zeros to `rows` columns."""
    points = np.zeros((len(angles), rows))
    points[:, : angles.shape[1]] = angles
    return points
