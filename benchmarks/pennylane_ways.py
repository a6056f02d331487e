"""The ways to a ground state that people take with PennyLane today, written out.

Their own simulators would take days; circuits and shots are counted as theirs are run:
* `adam(n)`: PennyLane's ordinary way: Adam (0.1), four-term parameter shifts, its default grouping, n shots
  a group. Group means of a hundred shots and more are drawn as Gaussians of exact mean and variance.
* `rosalin`: its ShotAdaptiveOptimizer: iCANS with weighted random sampling of single terms
  (arXiv:2004.06252), at least 10 shots a derivative, every shot drawn.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
from molecule_runs import ACCURACY, Bill, ready

from backends import jax_device
from backends import statevector as sv
from measurement import Grouping, ShiftRule, all_shifts
from problems import Circuit
from tasks.evaluate import exact_energies
from tasks.prepared import Prepared

SHOTS_MAX = {"h2": 3e6, "heh_plus": 6e6, "lih_active": 1.5e8}


@dataclass(frozen=True)
class Reached:
    """What a run took until it was there; infinite where it never was."""

    shots: float = math.inf
    usd: float = math.inf
    set_usd: float = math.inf

    @classmethod
    def by(cls, bill: Bill) -> Reached:
        return cls(bill.shots, bill.usd, bill.set_usd)


def shots_max(molecule: str) -> float:
    """Where a run is given up."""
    return SHOTS_MAX[molecule.partition("/")[0]]


@dataclass(frozen=True, eq=False)
class Bench:
    """Exact means and variances of groups and terms at any angles."""

    prepared: Prepared
    grouping: Grouping

    @classmethod
    @lru_cache(maxsize=8)
    def of(cls, molecule: str) -> Bench:
        prepared = ready(molecule, 0, "{name: adam}", "{mode: exact}")
        return cls(prepared, pennylane_groups(prepared))

    @property
    def dimension(self) -> int:
        return self.prepared.stage().circuit.n_parameters

    def moments(self, angles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Group means and single-shot variances, (points, groups) each."""
        values = jnp.asarray([g.values(np.arange(1 << self._n)) for g in self.grouping.groups])
        return tuple(np.asarray(a) for a in _moments(*self._arrays(angles), values))  # pyright: ignore

    def term_means(self, angles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Expectation values of all terms (points, terms) and their coefficients."""
        states = np.arange(1 << self._n)
        probabilities = np.asarray(_probabilities(*self._arrays(angles)))
        columns, coefficients = [], []
        for basis, group in enumerate(self.grouping.groups):
            signs = 1 - 2 * (np.bitwise_count(states[:, None] & group.support[None, :]) & 1).astype(float)
            columns.append(probabilities[:, basis] @ signs)
            coefficients.append(group.coefficients)
        return np.hstack(columns), np.concatenate(coefficients)

    def reached(self, parameters: np.ndarray) -> bool:
        reference = self.prepared.problem.reference
        assert reference is not None
        circuit = self.prepared.stage().circuit
        energy = float(exact_energies(self.prepared, circuit, parameters[None])[0])
        return energy - reference.energy < ACCURACY

    @property
    def _n(self) -> int:
        return self.prepared.problem.n_qubits

    def _arrays(self, angles: np.ndarray) -> tuple:
        psi0, rotations = _circuit_arrays(self.prepared.stage().circuit)
        arrays = jax_device._basis_arrays(self.grouping.bases, self._n)
        assert arrays is not None, "some basis is not the computational one"
        bases, basis_angles = arrays
        return psi0, rotations, bases, basis_angles, sv.padded_angles(angles, len(rotations.x))


@lru_cache(maxsize=8)
def _circuit_arrays(circuit: Circuit) -> tuple[jax.Array, sv.Rotations]:
    return sv.initial_state(circuit), sv.rotations_of(circuit)


@jax.jit
def _moments(psi0, rotations, bases, basis_angles, angles, values):
    def one(row):
        table = _table(psi0, rotations, bases, basis_angles, row)
        mean = jnp.sum(table * values, axis=1)
        return mean, jnp.maximum(jnp.sum(table * values**2, axis=1) - mean**2, 0.0)

    return jax.lax.map(one, angles)


@jax.jit
def _probabilities(psi0, rotations, bases, basis_angles, angles):
    return jax.lax.map(lambda row: _table(psi0, rotations, bases, basis_angles, row), angles)


def _table(psi0, rotations, bases, basis_angles, row):
    psi = sv.evolve(psi0, rotations, row)
    return jax.lax.map(lambda basis: jnp.abs(sv.evolve(psi, *basis)) ** 2, (bases, basis_angles))


def pennylane_groups(prepared: Prepared) -> Grouping:
    """The grouping that PennyLane gives the same Hamiltonian by default, in our form."""
    import pennylane as qml

    from measurement.grouping import Group
    from measurement.plan import Bases

    terms = prepared.problem.hamiltonian.without_constant()
    words = [
        qml.pauli.string_to_pauli_word(s, wire_map={w: w for w in range(len(s))}) for s in terms.strings()
    ]
    parts = qml.pauli.compute_partition_indices(words)
    support = terms.x | terms.z
    groups, x, z = [], [], []
    for part in parts:
        at = np.array(part)
        groups.append(Group(support[at], terms.coefficients[at], at))
        x.append(np.bitwise_or.reduce(terms.x[at]))
        z.append(np.bitwise_or.reduce(terms.z[at]))
    return Grouping(tuple(groups), Bases(np.array(x), np.array(z)), prepared.problem.hamiltonian.constant)


def adam(shots: int) -> Callable[[str, int], Reached]:
    def run(molecule: str, seed: int) -> Reached:
        bench, rng = Bench.of(molecule), np.random.default_rng(seed)
        circuit = bench.prepared.stage().circuit
        rule, d = ShiftRule.of(circuit), bench.dimension
        x, m, v, bill = np.zeros(d), np.zeros(d), np.zeros(d), Bill()
        for k in range(1, 1000):
            design = all_shifts(circuit, rule, x)
            means, variances = bench.moments(design.angles)
            energies = means.sum(1) + rng.normal(size=len(design)) * np.sqrt((variances / shots).sum(1))
            gradient = energies @ design.weights[:, 1:]
            bill.add(np.full((len(design) - 1) * len(bench.grouping), shots))  # Adam needs no energy
            m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
            x = x - 0.1 * (m / (1 - 0.9**k)) / (np.sqrt(v / (1 - 0.999**k)) + 1e-8)
            if bench.reached(x):
                return Reached.by(bill)
            if bill.shots > shots_max(molecule):
                break
        return Reached()

    return run


def rosalin(molecule: str, seed: int) -> Reached:
    """iCANS with single terms drawn by weight; a circuit is a term at a point."""
    bench, rng = Bench.of(molecule), np.random.default_rng(seed)
    circuit = bench.prepared.stage().circuit
    rule, d = ShiftRule.of(circuit), bench.dimension
    eta, mu, b, least = 0.07, 0.99, 1e-6, 10
    coefficients = bench.term_means(circuit.angles(np.zeros((1, d))))[1]
    norm = float(np.abs(coefficients).sum())
    lipschitz = norm
    x, chi, xi = np.zeros(d), np.zeros(d), np.zeros(d)
    shots, bill = np.full(d, least), Bill()
    for k in range(1, 100_000):
        design = all_shifts(circuit, rule, x)
        means = bench.term_means(design.angles)[0]
        gradient, variance, circuits = np.zeros(d), np.zeros(d), []
        for row in range(1, len(design)):
            parameter = int(np.flatnonzero(design.weights[row, 1:])[0])
            weight = design.weights[row, 1 + parameter]
            counts = rng.multinomial(shots[parameter], np.abs(coefficients) / norm)
            plus = rng.binomial(counts, np.clip((1 + means[row]) / 2, 0, 1))
            mean = norm * float(np.sign(coefficients) @ (2 * plus - counts)) / shots[parameter]
            gradient[parameter] += weight * mean
            variance[parameter] += weight**2 * (norm**2 - mean**2)
            circuits.append(counts)
        bill.add(np.concatenate(circuits))
        x = x - eta * gradient
        chi, xi = mu * chi + (1 - mu) * gradient, mu * xi + (1 - mu) * variance
        slope, noise = chi / (1 - mu**k), xi / (1 - mu**k)
        wanted = np.ceil(2 * lipschitz * eta / (2 - lipschitz * eta) * noise / (slope**2 + b * mu**k))
        gains = (
            (eta - lipschitz * eta**2 / 2) * slope**2 - lipschitz * eta**2 * noise / (2 * wanted)
        ) / wanted
        shots = np.clip(wanted, least, max(wanted[np.argmax(gains)], least)).astype(int)
        if bench.reached(x):
            return Reached.by(bill)
        if bill.shots > shots_max(molecule):
            break
    return Reached()
