"""The diagonal engine: QAOA circuits as elementwise phases and blocked real rotations.

A circuit of alternating layers, Z strings with any angles and X rotations of every qubit with any angles, on
|+...+>, is simulated in the frame of one S gate a qubit: S commutes with the cost layers and turns RX into
the real rotation RY. So a mixer is a product of real 2 x 2 matrices on the real and on the imaginary part,
and a cost layer a phase e^{-i d(k)} whose exponent is the Walsh-Hadamard transform of the layer's angles,

    d(k) = sum_r angle_r / 2 (-1)^{|k & z_r|},

or a multiple of one diagonal, computed once, where the layer's angles share a parameter.

Where every string is even, as for cuts, the state keeps its symmetry under the flip of all qubits, and only
the half with the top qubit 0 is held. There the rotation of the top qubit couples k with its complement.

Layers run as kernels in C where these can be compiled (`backends.engines.layers`), else through XLA
(`backends.engines.blocks`). A batch goes to the kernels point by point, each on all cores.

Gradients are adjoint (arXiv:2009.02823): the reverse pass un-applies the layers to state and adjoint together
and stores none. The derivatives by all angles of a cost layer are one Walsh-Hadamard transform of
Im(conj(lambda) psi).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_batching import sequential_vmap

from backends import statevector as sv
from backends.engines import layers
from backends.engines.blocks import apply_and_pair, apply_product, walsh_hadamard
from backends.engines.layers import Phases
from problems.circuit import Circuit
from problems.pauli import PauliSum, parity
from problems.problem import GroundSpace, Observable

LEVELS_MAX = 1 << 12
"""Diagonals of at most so many distinct values take their phases from a table, which fits a core's cache."""

_STATES_HELD = 7
"""State and adjoint, the same after a block, and one for the transform of a cost layer's derivatives."""


class Cost(NamedTuple):
    """What cost layers with shared angles are multiples of: their diagonal at angle 1 of the first string.

    Attributes:
        ratios: angle of each string over that of the first, shape (strings,).
        levels: its values where they are few, else the whole diagonal.
        level_of: index into `levels` of each state; None where `levels` is the diagonal.
    """

    ratios: jax.Array
    levels: jax.Array
    level_of: jax.Array | None


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class DiagonalProgram:
    """As `backends.engines.Program`; states are real, (2, 2**m): real and imaginary part of i^{|k|} psi.

    Attributes:
        n_qubits: of the circuit; m is one less where only half of the state is held.
        layers: pairs of a cost layer and a mixer.
        strings: masks of a cost layer on the m qubits, shape (strings,).
        cost: what shared angles multiply.
        energies: the observable's diagonal, shape (2**m,); None where only states are wanted.
    """

    n_qubits: int = field(metadata={"static": True})
    layers: int = field(metadata={"static": True})
    halved: bool = field(metadata={"static": True})
    strings: jax.Array
    cost: Cost
    energies: jax.Array | None

    @property
    def rows(self) -> int:
        return self.layers * (len(self.strings) + self.n_qubits)

    @property
    def basis_states(self) -> jax.Array:
        return jnp.arange(1 << self.n_qubits)

    @property
    def _held(self) -> int:
        return self.n_qubits - self.halved

    @property
    def _in_c(self) -> bool:
        return layers.available(self._held, self.cost.levels.dtype)

    def state(self, angles: jax.Array) -> jax.Array:
        if self._in_c:
            return sequential_vmap(lambda a: self._prepared(a, layers.apply_layer))(angles)
        return self._prepared(angles, self._applied_by_xla)

    def _prepared(self, angles: jax.Array, applied: Callable) -> jax.Array:
        size, dtype = 1 << self._held, self.cost.levels.dtype
        quarter_turns = jax.lax.population_count(jnp.arange(size)) & 3
        start = jnp.stack([_cosine(quarter_turns), _cosine(quarter_turns - 1)]).astype(dtype) * size**-0.5
        strings, qubits = self._layered(angles.astype(dtype))

        def through(phases_of: Callable[[jax.Array], Phases]) -> jax.Array:
            def layer(state: jax.Array, angles: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
                return applied(state, phases_of(angles[0]), _rotations(angles[1])), None

            return jax.lax.scan(layer, start, (strings, qubits))[0]

        return self._with_phases(strings, through)

    def energy(self, state: jax.Array) -> jax.Array:
        assert self.energies is not None
        return jnp.sum(state**2 @ self.energies)

    def gradient(self, state: jax.Array, angles: jax.Array) -> tuple[jax.Array, jax.Array]:
        assert self.energies is not None
        return self.energy(state), self.reverse(state, angles, self.energies)

    def cvar(self, state: jax.Array, fraction: jax.Array) -> jax.Array:
        """() mean of the lowest `fraction` of the energies' distribution (arXiv:1907.04769)."""
        return jnp.sum(state**2 @ self._tail(state, fraction))

    def cvar_gradient(
        self, state: jax.Array, angles: jax.Array, fraction: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """(CVaR, its derivative by every angle).

        Around a point CVaR is the mean of the tail's observable with its quantile held fixed, since CVaR is
        stationary in the quantile (Rockafellar and Uryasev 2000, theorem 1).
        """
        tail = self._tail(state, fraction)
        return jnp.sum(state**2 @ tail), self.reverse(state, angles, tail)

    def reverse(self, state: jax.Array, angles: jax.Array, diagonal: jax.Array) -> jax.Array:
        """Derivative by every angle of the mean of a diagonal observable, shape (rows,)."""
        if self._in_c:
            undone = partial(layers.undo_layer, strings=self.strings)
            return sequential_vmap(partial(self._derivatives, undone))(state, angles, diagonal)
        return self._derivatives(self._undone_by_xla, state, angles, diagonal)

    def _derivatives(
        self, undone: Callable, state: jax.Array, angles: jax.Array, diagonal: jax.Array
    ) -> jax.Array:
        both = jnp.concatenate([state, diagonal * state])
        strings, qubits = self._layered(angles.astype(state.dtype))

        def through(phases_of: Callable[[jax.Array], Phases]) -> jax.Array:
            def layer(both: jax.Array, angles: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
                return undone(both, phases_of(-angles[0]), _rotations(-angles[1]))

            return jax.lax.scan(layer, both, (strings, qubits), reverse=True)[1].reshape(-1)

        return self._with_phases(strings, through)

    def metric(self, angles: jax.Array, jacobian: jax.Array) -> jax.Array:
        def state(angles: jax.Array) -> jax.Array:
            return jax.lax.complex(*self._prepared(angles, self._applied_by_xla))  # can be differentiated

        return sv.metric(state, angles, jacobian)

    def fidelity(self, state: jax.Array, ground: sv.Ground) -> jax.Array:
        amplitudes = self._amplitudes(state, ground.support)
        return sv.fidelity(amplitudes, ground._replace(support=jnp.arange(len(ground.support))))

    def probabilities(self, state: jax.Array) -> jax.Array:
        held = jnp.sum(state**2, axis=0)
        return jnp.concatenate([held, held[::-1]]) / 2 if self.halved else held

    def statevector(self, state: jax.Array) -> jax.Array:
        return self._amplitudes(state, self.basis_states)

    def _amplitudes(self, state: jax.Array, basis_states: jax.Array) -> jax.Array:
        last = (1 << self._held) - 1
        at = jnp.where(basis_states > last, 2 * last + 1 - basis_states, basis_states)
        turns = jax.lax.population_count(at) & 3
        back = _cosine(turns) - 1j * _cosine(turns - 1)
        return back * (state[0, at] + 1j * state[1, at]) * (0.5**0.5 if self.halved else 1.0)

    def _layered(self, angles: jax.Array) -> tuple[jax.Array, jax.Array]:
        by_layer = angles.reshape(self.layers, -1)
        strings = len(self.strings)
        return by_layer[:, :strings], by_layer[:, strings:]

    def _with_phases(
        self, angles: jax.Array, through: Callable[[Callable[[jax.Array], Phases]], jax.Array]
    ) -> jax.Array:
        """`through` all layers, given the function from a cost layer's angles to its phases.

        Args:
            angles: of all cost layers, (layers, strings).
        """

        def shared(angles: jax.Array) -> Phases:
            exponents = angles[0] * self.cost.levels
            return Phases(jnp.cos(exponents), jnp.sin(exponents), self.cost.level_of)

        def separate(angles: jax.Array) -> Phases:
            exponents = _diagonal_of(self.strings, angles, self._held)
            return Phases(jnp.cos(exponents), jnp.sin(exponents), None)

        rounding = 16 * jnp.finfo(angles.dtype).eps * jnp.max(jnp.abs(angles))
        are_shared = jnp.all(jnp.abs(angles - angles[:, :1] * self.cost.ratios) <= rounding)
        return jax.lax.cond(are_shared, lambda: through(shared), lambda: through(separate))

    def _applied_by_xla(self, state: jax.Array, phases: Phases, rotations: jax.Array) -> jax.Array:
        return self._mixed(_phased(state, phases), rotations)

    def _undone_by_xla(
        self, both: jax.Array, phases: Phases, rotations: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        both, by_qubit = self._unmixed(both, rotations)
        state_re, state_im, adjoint_re, adjoint_im = both
        correlation = adjoint_re * state_im - adjoint_im * state_re
        by_string = walsh_hadamard(correlation[None])[0, self.strings]
        return _phased(both, phases), jnp.concatenate([by_string, by_qubit])

    def _mixed(self, states: jax.Array, rotations: jax.Array) -> jax.Array:
        mixed = apply_product(states, rotations[: self._held])
        return self._top_turned(mixed, self._flipped(mixed), rotations) if self.halved else mixed

    def _unmixed(self, both: jax.Array, rotations: jax.Array) -> tuple[jax.Array, jax.Array]:
        """(state and adjoint before a mixer, the energy's derivative by its angles), by its inverse."""
        back, derivatives = apply_and_pair(both, rotations[: self._held])
        if not self.halved:
            return back, derivatives
        flipped = self._flipped(back)
        by_top = jnp.sum(back[2:] * flipped[:2])
        return self._top_turned(back, flipped, rotations), jnp.append(derivatives, by_top)

    @staticmethod
    def _top_turned(states: jax.Array, flipped: jax.Array, rotations: jax.Array) -> jax.Array:
        cosine, sine = rotations[-1, :, 0]
        return cosine * states + sine * flipped

    def _flipped(self, states: jax.Array) -> jax.Array:
        """The generator [[0, -1], [1, 0]] of the top qubit, on the half where that qubit is 0.

        It brings -phi(1, k), and phi(1, k) = i^n (-1)^{n - 1 - |k|} phi(0, ~k) by the flip symmetry.
        """
        n = self.n_qubits
        odd = jax.lax.population_count(jnp.arange(1 << self._held)) & 1
        sign = ((-1.0) ** (n + n // 2) * (1 - 2 * odd)).astype(states.dtype)
        mirrored = sign * states[:, ::-1]
        if n % 2 == 0:
            return mirrored
        return jnp.stack([-mirrored[1::2], mirrored[0::2]], axis=1).reshape(states.shape)

    def _tail(self, state: jax.Array, fraction: jax.Array) -> jax.Array:
        """min(E(k) - q, 0) / fraction + q, whose mean is CVaR where q is the quantile of `fraction`."""
        assert self.energies is not None
        order = jnp.argsort(self.energies)
        cumulative = jnp.cumsum(jnp.sum(state**2, axis=0)[order])
        at = jnp.searchsorted(cumulative, fraction * cumulative[-1])
        quantile = self.energies[order[jnp.minimum(at, len(order) - 1)]]
        return jnp.minimum(self.energies - quantile, 0.0) / fraction + quantile


@dataclass(frozen=True)
class DiagonalEngine:
    """Runs QAOA: layers of the same Z strings and of X on every qubit in order, on |+...+>.

    Attributes:
        precision: "double", or "single" for half the memory and errors of about 1e-5.
    """

    precision: str = "double"

    def accepts(self, circuit: Circuit, observable: Observable | None) -> bool:
        diagonal = observable is None or (isinstance(observable, PauliSum) and observable.is_diagonal)
        return diagonal and _strings_of(circuit) is not None

    def bytes_needed(self, circuit: Circuit, observable: Observable | None) -> int:
        return 3 * self._part_bytes(circuit, observable) + self.state_bytes(circuit)

    def state_bytes(self, circuit: Circuit) -> int:
        return 2 * _STATES_HELD * self._part_bytes(circuit, None)

    def program(self, circuit: Circuit, observable: Observable | None) -> DiagonalProgram:
        strings = _strings_of(circuit)
        assert strings is not None, "accepted"
        pauli = None if observable is None else observable.pauli
        halved = _even(strings) and (pauli is None or _even(pauli.z))
        held = circuit.n_qubits - halved
        dtype = np.dtype(np.float64 if self.precision == "double" else np.float32)
        energies = None
        if pauli is not None:
            energies = _diagonal_of(
                jnp.asarray(_masked(pauli.z, held)), 2 * jnp.asarray(pauli.coefficients), held
            )
        return DiagonalProgram(
            circuit.n_qubits,
            len(circuit) // (len(strings) + circuit.n_qubits),
            halved,
            jnp.asarray(_masked(strings, held)),
            _cost(circuit, strings, held, dtype),
            None if energies is None else energies.astype(dtype),
        )

    def ground(self, circuit: Circuit, ground: GroundSpace) -> sv.Ground:
        return sv.ground_of(ground)

    def _part_bytes(self, circuit: Circuit, observable: Observable | None) -> int:
        """Of one real number a basis state; whether the symmetry can be used is known with the observable."""
        strings = _strings_of(circuit)
        assert strings is not None, "accepted"
        halved = _even(strings) and (observable is None or _even(observable.pauli.z))
        return (8 if self.precision == "double" else 4) << (circuit.n_qubits - halved)


@lru_cache(maxsize=16)
def _strings_of(circuit: Circuit) -> np.ndarray | None:
    """The Z strings of every cost layer; None where the circuit is not of this kind."""
    n = circuit.n_qubits
    if not circuit.initial_plus or not len(circuit) or circuit.excitation.any():
        return None
    strings = int(np.argmax(circuit.x != 0))
    if strings == 0 or len(circuit) % (strings + n):
        return None
    x = circuit.x.reshape(-1, strings + n)
    z = circuit.z.reshape(-1, strings + n)
    mixers = np.array_equal(x[:, strings:], np.tile(1 << np.arange(n), (len(x), 1)))
    costs = not x[:, :strings].any() and bool(np.all(z[:, :strings] == z[0, :strings]))
    return z[0, :strings] if mixers and costs and not z[:, strings:].any() else None


def _even(masks: np.ndarray) -> bool:
    return not parity(masks).any()


def _masked(masks: np.ndarray, held: int) -> np.ndarray:
    """Masks on the qubits held; even strings keep their sign on states whose top qubit is 0."""
    return masks & ((1 << held) - 1)


@jax.jit
def _cosine(quarter_turns: jax.Array) -> jax.Array:
    return jnp.array([1.0, 0.0, -1.0, 0.0])[quarter_turns & 3]


def _cost(circuit: Circuit, strings: np.ndarray, held: int, dtype: np.dtype) -> Cost:
    ratios = np.where(circuit.scale[0] == 0, 0.0, circuit.scale[: len(strings)] / (circuit.scale[0] or 1.0))
    diagonal = np.asarray(_diagonal_of(jnp.asarray(_masked(strings, held)), jnp.asarray(ratios), held))
    levels, level_of = np.unique(diagonal, return_inverse=True)
    if len(levels) > LEVELS_MAX:
        return Cost(jnp.asarray(ratios, dtype), jnp.asarray(diagonal, dtype), None)
    index = np.uint8 if len(levels) <= 256 else np.uint16
    return Cost(jnp.asarray(ratios, dtype), jnp.asarray(levels, dtype), jnp.asarray(level_of.astype(index)))


def _diagonal_of(strings: jax.Array, angles: jax.Array, held: int) -> jax.Array:
    """sum_r angles[r] / 2 (-1)^{|k & strings[r]|} at every k, shape (2**held,)."""
    spectrum = jnp.zeros((1, 1 << held), dtype=angles.dtype).at[0, strings].add(angles / 2)
    return walsh_hadamard(spectrum)[0]


def _phased(states: jax.Array, phases: Phases) -> jax.Array:
    """e^{-i d(k)} on pairs of channels."""
    cosine, sine, level_of = phases
    if level_of is not None:
        cosine, sine = (part.at[level_of].get(mode="promise_in_bounds") for part in (cosine, sine))
    real, imaginary = states[0::2], states[1::2]
    turned = cosine * real + sine * imaginary, cosine * imaginary - sine * real
    return jnp.stack(turned, axis=1).reshape(states.shape)


def _rotations(angles: jax.Array) -> jax.Array:
    """RY of every angle, shape (n, 2, 2)."""
    cosine, sine = jnp.cos(angles / 2), jnp.sin(angles / 2)
    return jnp.stack([jnp.stack([cosine, -sine], -1), jnp.stack([sine, cosine], -1)], -2)
