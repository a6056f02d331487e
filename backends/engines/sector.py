"""The sector engine: excitation circuits on the determinants of their (N, Sz) sector, in real arithmetic.

Excitations that conserve the number of electrons of each spin keep a determinant's sector, and rotate pairs
of determinants in it by real angles. The state is float64, shape (dimension,), in the order of
`problems.sector.determinants`; LiH in STO-3G has 225 amplitudes where a statevector has 4096.

Each rotation is a gather: psi[k] -> cos(a/2) psi[k] + sin(a/2) sign[k] psi[partner[k]] where sign[k] is not
0. Gradients are adjoint (arXiv:2009.02823, algorithm 1), recomputing states on the way back. Circuits are
padded with rows that do nothing, so a growing circuit rarely compiles anew.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from backends.engines.program import capacity
from problems.circuit import Circuit, generator_sign
from problems.electronic import ElectronicHamiltonian
from problems.pauli import PauliSum
from problems.problem import GroundSpace, Observable
from problems.references import NONZEROS_MAX, restricted_matrix
from problems.sector import ALPHA, BETA, Sector, determinants
from problems.sector_matrix import sector_matrix
from problems.sparse_rows import SparseRows

jax.config.update("jax_enable_x64", True)

_DENSE_GAIN = 8
"""A dense product handles so many elements in the time that a gather takes for one."""

_TOGETHER_MAX = 4096
"""Up to so many determinants state and adjoint are one array: small ones cost by the kernel, not by size."""

_ROW_BYTES = 5
"""Per determinant and rotation: a partner and a sign."""

_COUPLING_BYTES = 16


class Dense(NamedTuple):
    """H as a matrix, shape (dimension, dimension)."""

    matrix: jax.Array

    def apply(self, psi: jax.Array) -> jax.Array:
        return self.matrix @ psi


class Gathered(NamedTuple):
    """H as equally many elements a row: (H psi)[j] = sum over c of values[c, j] psi[columns[c, j]]."""

    columns: jax.Array
    values: jax.Array

    def apply(self, psi: jax.Array) -> jax.Array:
        def add(total: jax.Array, part: Gathered) -> tuple[jax.Array, None]:
            return total + part.values * psi.at[part.columns].get(mode="promise_in_bounds"), None

        return jax.lax.scan(add, jnp.zeros_like(psi), self)[0]


class Ground(NamedTuple):
    """Ground states as rows (degeneracy, dimension); `separate` where they are single determinants."""

    rows: jax.Array
    separate: jax.Array


class _Rotation(NamedTuple):
    """One row of a program's tables, (dimension,) each, at an angle; or all of them."""

    partner: jax.Array
    sign: jax.Array
    cosine: jax.Array
    sine: jax.Array

    def applied(self, psi: jax.Array) -> tuple[jax.Array, jax.Array]:
        """(states after the rotation, its generator applied to those before), shapes (..., dimension)."""
        generated = self.sign * psi.at[..., self.partner].get(mode="promise_in_bounds")
        return jnp.where(self.sign != 0, self.cosine, 1.0) * psi + self.sine * generated, generated


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class SectorProgram:
    """As `backends.engines.Program`.

    Attributes:
        n_qubits: of the circuit.
        initial: () index of the first determinant.
        partner, sign: int32 and int8, shape (rows, dimension); padding has signs of zero.
        basis_states: int64, ascending, shape (dimension,).
        hamiltonian: None where only states are wanted.
    """

    n_qubits: int = field(metadata={"static": True})
    initial: jax.Array
    partner: jax.Array
    sign: jax.Array
    basis_states: jax.Array
    hamiltonian: Dense | Gathered | None

    @property
    def rows(self) -> int:
        return len(self.partner)

    def state(self, angles: jax.Array) -> jax.Array:
        def step(psi: jax.Array, rotation: _Rotation) -> tuple[jax.Array, None]:
            return rotation.applied(psi)[0], None

        return jax.lax.scan(step, self._start, self._rotations(angles))[0]

    def energy(self, state: jax.Array) -> jax.Array:
        assert self.hamiltonian is not None
        return state @ self.hamiltonian.apply(state)

    def gradient(self, state: jax.Array, angles: jax.Array) -> tuple[jax.Array, jax.Array]:
        assert self.hamiltonian is not None

        def together(both: jax.Array, rotation: _Rotation) -> tuple[jax.Array, jax.Array]:
            back, generated = rotation.applied(both)
            return back, both[1] @ generated[0]

        def apart(
            both: tuple[jax.Array, ...], rotation: _Rotation
        ) -> tuple[tuple[jax.Array, ...], jax.Array]:
            psi, adjoint = both
            back, generated = rotation.applied(psi)
            return (back, rotation.applied(adjoint)[0]), adjoint @ generated

        adjoint = self.hamiltonian.apply(state)
        backwards = self._rotations(-angles)
        if len(state) <= _TOGETHER_MAX:
            derivatives = jax.lax.scan(together, jnp.stack([state, adjoint]), backwards, reverse=True)[1]
        else:
            derivatives = jax.lax.scan(apart, (state, adjoint), backwards, reverse=True)[1]
        return state @ adjoint, derivatives

    def metric(self, angles: jax.Array, jacobian: jax.Array) -> jax.Array:
        """As `Program.metric`; real states have no Berry connection, so overlaps of tangents are all."""

        def step(
            carry: tuple[jax.Array, jax.Array], row: tuple[_Rotation, jax.Array]
        ) -> tuple[tuple[jax.Array, jax.Array], None]:
            rotation, slopes = row
            psi = rotation.applied(carry[0])[0]
            tangents = rotation.applied(carry[1])[0]
            return (psi, tangents + 0.5 * slopes[:, None] * rotation.applied(psi)[1]), None

        tangents = jnp.zeros((jacobian.shape[1], len(self.basis_states)))
        rows = self._rotations(angles), jacobian
        _, tangents = jax.lax.scan(step, (self._start, tangents), rows)[0]
        return tangents @ tangents.T

    def fidelity(self, state: jax.Array, ground: Ground) -> jax.Array:
        overlaps = ground.rows @ state
        separate = ground.rows[0] @ state**2
        return jnp.where(ground.separate, separate, jnp.sum(overlaps**2))

    def probabilities(self, state: jax.Array) -> jax.Array:
        return state**2

    def statevector(self, state: jax.Array) -> jax.Array:
        size = 1 << self.n_qubits
        return jnp.zeros(size, dtype=jnp.complex128).at[self.basis_states].set(state)

    @property
    def _start(self) -> jax.Array:
        return jnp.zeros(len(self.basis_states)).at[self.initial].set(1.0)

    def _rotations(self, angles: jax.Array) -> _Rotation:
        return _Rotation(self.partner, self.sign, jnp.cos(angles / 2), jnp.sin(angles / 2))


class SectorEngine:
    """Runs circuits of spin-conserving excitations on a determinant (UCCSD, k-UpCCGSD, ADAPT, Givens).

    Any observable will do: its energies and gradients in the sector need its block there only, and of that
    the real part, as the states are real.
    """

    def accepts(self, circuit: Circuit, observable: Observable | None) -> bool:
        if circuit.initial_plus or circuit.n_qubits % 2 or not bool(np.all(circuit.excitation)):
            return False
        filled, emptied = circuit.source, circuit.source ^ circuit.x
        same = [np.bitwise_count(filled & spin) == np.bitwise_count(emptied & spin) for spin in (ALPHA, BETA)]
        if not bool(np.all(same)):
            return False
        if not isinstance(observable, PauliSum):
            return True
        return sector_of(circuit).dimension * len(np.unique(observable.x)) <= NONZEROS_MAX

    def bytes_needed(self, circuit: Circuit, observable: Observable | None) -> int:
        sector = sector_of(circuit)
        rows = capacity(len(circuit)) * _ROW_BYTES * sector.dimension
        couplings = 0 if observable is None else min(sector.couplings, sector.dimension)
        return rows + couplings * _COUPLING_BYTES * sector.dimension + self.state_bytes(circuit)

    def state_bytes(self, circuit: Circuit) -> int:
        return 6 * 8 * sector_of(circuit).dimension

    def program(self, circuit: Circuit, observable: Observable | None) -> SectorProgram:
        states = _determinants(sector_of(circuit))
        partner, sign = _rotation_tables(circuit)
        initial = np.searchsorted(states, circuit.initial_state)
        hamiltonian = None if observable is None else _hamiltonian(observable, sector_of(circuit))
        return SectorProgram(
            circuit.n_qubits,
            jnp.asarray(initial),
            partner,
            sign,
            jnp.asarray(states),
            hamiltonian,
        )

    def ground(self, circuit: Circuit, ground: GroundSpace) -> Ground:
        states = _determinants(sector_of(circuit))
        separate = ground.amplitudes is None
        amplitudes = np.ones((1, len(ground.support))) if ground.amplitudes is None else ground.amplitudes
        at = np.minimum(np.searchsorted(states, ground.support), len(states) - 1)
        inside = states[at] == ground.support
        rows = np.zeros((len(amplitudes), len(states)))
        rows[:, at[inside]] = amplitudes[:, inside]
        return Ground(jnp.asarray(rows), jnp.asarray(separate))


def sector_of(circuit: Circuit) -> Sector:
    """The electrons of each spin that a circuit starts with, and never changes."""
    alpha, beta = ((circuit.initial_state & spin).bit_count() for spin in (ALPHA, BETA))
    return Sector(circuit.n_qubits // 2, alpha, beta)


@lru_cache(maxsize=4)
def _determinants(sector: Sector) -> np.ndarray:
    return determinants(sector)


@lru_cache(maxsize=4)
def _rotation_tables(circuit: Circuit) -> tuple[jax.Array, jax.Array]:
    """(partner, sign) of every rotation at every determinant; see `SectorProgram`."""
    states = _determinants(sector_of(circuit))
    shape = (capacity(len(circuit)), len(states))
    partner, sign = np.zeros(shape, dtype=np.int32), np.zeros(shape, dtype=np.int8)
    for row in range(len(circuit)):
        # psi'[k] takes -s(k) psi[k ^ x] where k carries the source, +s(k) where it carries the target
        sign[row] = -generator_sign(circuit, row, states)
        moved = np.flatnonzero(sign[row])
        partner[row, moved] = np.searchsorted(states, states[moved] ^ circuit.x[row])
    return jnp.asarray(partner), jnp.asarray(sign)


@lru_cache(maxsize=2)
def _hamiltonian(observable: Observable, sector: Sector) -> Dense | Gathered:
    matrix = _matrix(observable, sector)
    longest, size = int(matrix.lengths.max()), len(matrix)
    if size <= _DENSE_GAIN * longest:
        return Dense(jnp.asarray(matrix.dense()))
    columns, values = np.zeros((longest, size), dtype=np.int32), np.zeros((longest, size))
    row = matrix.rows
    place = np.arange(len(row)) - matrix.starts[row]
    columns[place, row], values[place, row] = matrix.columns, matrix.values
    return Gathered(jnp.asarray(columns), jnp.asarray(values))


def _matrix(observable: Observable, sector: Sector) -> SparseRows:
    if isinstance(observable, ElectronicHamiltonian):
        return sector_matrix(observable, sector)
    matrix = restricted_matrix(observable, _determinants(sector))
    assert matrix is not None, "accepted within NONZEROS_MAX"
    return SparseRows.of(matrix.real.tocsr())
