"""What every program on the whole statevector has in common."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from backends import statevector as sv


class WholeState:
    """What of `backends.engines.Program` follows from `state`; states are complex128, shape (2^n,)."""

    initial: jax.Array
    observable: sv.Observable | None

    def state(self, angles: jax.Array) -> jax.Array:
        raise NotImplementedError

    @property
    def basis_states(self) -> jax.Array:
        return jnp.arange(len(self.initial))

    def energy(self, state: jax.Array) -> jax.Array:
        assert self.observable is not None
        return jnp.vdot(state, sv.apply_observable(self.observable, state)).real

    def metric(self, angles: jax.Array, jacobian: jax.Array) -> jax.Array:
        return sv.metric(self.state, angles, jacobian)

    def fidelity(self, state: jax.Array, ground: sv.Ground) -> jax.Array:
        return sv.fidelity(state, ground)

    def probabilities(self, state: jax.Array) -> jax.Array:
        return jnp.abs(state) ** 2

    def statevector(self, state: jax.Array) -> jax.Array:
        return state
