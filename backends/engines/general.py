"""The general engine: any circuit, on the whole statevector, fused into blocks where that pays."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import jax

from backends import statevector as sv
from backends.engines.fused import FusedProgram, fused_program
from backends.engines.whole_state import WholeState
from problems.circuit import Circuit
from problems.pauli import PauliSum
from problems.problem import GroundSpace, Observable

_STATE_BYTES = 16
_STATES_HELD = 8
"""Forward, adjoint and their temporaries, fused (7.2 measured; 6 rotation by rotation)."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class GeneralProgram(WholeState):
    """As `backends.engines.Program`; states are complex128, shape (2^n,)."""

    initial: jax.Array
    rotations: sv.Rotations
    observable: sv.Observable | None

    @property
    def rows(self) -> int:
        return len(self.rotations.x)

    def state(self, angles: jax.Array) -> jax.Array:
        return sv.evolve(self.initial, self.rotations, angles)

    def gradient(self, state: jax.Array, angles: jax.Array) -> tuple[jax.Array, jax.Array]:
        assert self.observable is not None
        return sv.reverse_pass(state, self.rotations, self.observable, angles)


class GeneralEngine:
    """Takes what no other engine does."""

    def accepts(self, circuit: Circuit, observable: Observable | None) -> bool:
        return True

    def bytes_needed(self, circuit: Circuit, observable: Observable | None) -> int:
        terms = sv.observable_bytes(observable.pauli) if observable is not None else 0
        return terms + self.state_bytes(circuit)

    def state_bytes(self, circuit: Circuit) -> int:
        return _STATES_HELD * _STATE_BYTES << circuit.n_qubits

    def program(self, circuit: Circuit, observable: Observable | None) -> GeneralProgram | FusedProgram:
        rotations, initial = sv.rotations_of(circuit), sv.initial_state(circuit)
        masks = None if observable is None else _observable(observable.pauli)
        fused = fused_program(circuit, initial, masks, rows=len(rotations.x))
        return fused or GeneralProgram(initial, rotations, masks)

    def ground(self, circuit: Circuit, ground: GroundSpace) -> sv.Ground:
        return sv.ground_of(ground)


@lru_cache(maxsize=4)
def _observable(observable: PauliSum) -> sv.Observable:
    return sv.observable_of(observable)
