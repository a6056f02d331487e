"""The sector engine: excitation circuits on the determinants of their (N, Sz) sector, in real arithmetic.

Excitations that conserve the number of electrons of each spin keep a determinant's sector, and rotate pairs
of determinants in it by real angles. The state is float64, shape (dimension,), in the order of
`problems.sector.determinants`; LiH in STO-3G has 225 amplitudes where a statevector has 4096.

The rotations run as kernels in C where these can be compiled (`backends.engines.native`), else through XLA
(`backends.engines.gathers`). Circuits are padded with rows that do nothing, so a growing circuit rarely
compiles anew.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from backends.engines.gathers import Excitations, Gathers, Hamiltonian, matrix_of
from backends.engines.native import KERNELS, CsrMatrix, Pairs
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

_ROW_BYTES = 5
"""Per determinant and rotation: a partner and a sign."""

_COUPLING_BYTES = 16


class Ground(NamedTuple):
    """Ground states as rows (degeneracy, dimension); `separate` where they are single determinants."""

    rows: jax.Array
    separate: jax.Array


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class SectorProgram:
    """As `backends.engines.Program`.

    Attributes:
        n_qubits: of the circuit.
        initial: () index of the first determinant.
        excitations: the rotations, padded with rows that turn nothing.
        basis_states: int64, ascending, shape (dimension,).
        hamiltonian: None where only states are wanted.
    """

    n_qubits: int = field(metadata={"static": True})
    initial: jax.Array
    excitations: Excitations
    basis_states: jax.Array
    hamiltonian: Hamiltonian | None

    @property
    def rows(self) -> int:
        return self.excitations.rows

    def state(self, angles: jax.Array) -> jax.Array:
        return self.excitations.state(self._start, angles)

    def energy(self, state: jax.Array) -> jax.Array:
        assert self.hamiltonian is not None
        return state @ self.hamiltonian.apply(state)

    def gradient(self, state: jax.Array, angles: jax.Array) -> tuple[jax.Array, jax.Array]:
        assert self.hamiltonian is not None
        adjoint = self.hamiltonian.apply(state)
        return state @ adjoint, self.excitations.derivatives(state, adjoint, angles)

    def metric(self, angles: jax.Array, jacobian: jax.Array) -> jax.Array:
        """As `Program.metric`; real states have no Berry connection, so overlaps of tangents are all."""
        tangents = self.excitations.tangents(self._start, angles, jacobian)
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
        sector, in_c = sector_of(circuit), KERNELS.available()
        states = _determinants(sector)
        return SectorProgram(
            circuit.n_qubits,
            initial=jnp.asarray(np.searchsorted(states, circuit.initial_state)),
            excitations=_excitations(circuit, in_c=in_c),
            basis_states=jnp.asarray(states),
            hamiltonian=None if observable is None else _hamiltonian(observable, sector, in_c=in_c),
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
def _excitations(circuit: Circuit, *, in_c: bool) -> Excitations:
    return pairs_of(circuit) if in_c else gathers_of(circuit)


def pairs_of(circuit: Circuit) -> Pairs:
    """The pairs of determinants that each rotation turns, for the kernels in C."""
    first, second = [], []
    for row in range(capacity(len(circuit))):
        moved, partner, sign = _moves(circuit, row)
        first.append(moved[sign > 0])
        second.append(partner[sign > 0])
    return Pairs.of(first, second, length=capacity(sum(map(len, first))))


def gathers_of(circuit: Circuit) -> Gathers:
    """The partner and the sign of every determinant under each rotation, for XLA."""
    shape = (capacity(len(circuit)), len(_determinants(sector_of(circuit))))
    partners, signs = np.zeros(shape, dtype=np.int32), np.zeros(shape, dtype=np.int8)
    for row in range(len(circuit)):
        moved, partner, sign = _moves(circuit, row)
        partners[row, moved], signs[row, moved] = partner, sign
    return Gathers(jnp.asarray(partners), jnp.asarray(signs))


def _moves(circuit: Circuit, row: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(determinants that a rotation moves, their partners, signs of what they take of these), by index."""
    if row >= len(circuit):
        nothing = np.zeros(0, dtype=np.int64)
        return nothing, nothing, nothing
    states = _determinants(sector_of(circuit))
    # psi'[k] takes -s(k) psi[k ^ x] where k carries the source, +s(k) where it carries the target
    sign = -generator_sign(circuit, row, states)
    moved = np.flatnonzero(sign)
    return moved, np.searchsorted(states, states[moved] ^ circuit.x[row]), sign[moved]


@lru_cache(maxsize=2)
def _hamiltonian(observable: Observable, sector: Sector, *, in_c: bool) -> Hamiltonian:
    matrix = _matrix(observable, sector)
    return CsrMatrix.of(matrix) if in_c else matrix_of(matrix)


def _matrix(observable: Observable, sector: Sector) -> SparseRows:
    if isinstance(observable, ElectronicHamiltonian):
        return sector_matrix(observable, sector)
    matrix = restricted_matrix(observable, _determinants(sector))
    assert matrix is not None, "accepted within NONZEROS_MAX"
    return SparseRows.of(matrix.real.tocsr())
