"""Shots and money to chemical accuracy, by the ways people take today and by Shotwise's.

    python benchmarks/shots.py reach [--seeds 20] [--molecules h2 heh_plus lih_active] [--contenders NAME ...]
    python benchmarks/shots.py ends [--seeds 20] [--molecules h2 heh_plus lih_active]
    python benchmarks/shots.py allocation
    python benchmarks/shots.py honesty [--runs 300]

`reach`: shots at the device until the true energy of the current parameters is within 1.6 mHa of FCI, from
Hartree-Fock, sampling ideal, all contenders in one run; medians and quartiles. Money is that of the same runs
at $0.30 a circuit and $0.00145 a shot. `h2/spatial` is `h2` without the amplitudes that its symmetry forbids,
for every contender.

`ends`: the same money for whole runs of the default optimizer, told of the fees, that ask for a standard
error of 1.6 mHa: until the optimization ends by itself, and for the final evaluation.

Contenders outside Shotwise are written out here, since their own simulators would take days; their circuits
and shots are counted as theirs are run:
* `adam n`: PennyLane's ordinary way: Adam (0.1), four-term parameter shifts, its default grouping, n shots
  a group. Group means of a hundred shots and more are drawn as Gaussians of exact mean and variance.
* `rosalin`: its ShotAdaptiveOptimizer: iCANS with weighted random sampling of single terms
  (arXiv:2004.06252), at least 10 shots a derivative, every shot drawn.
The others are Shotwise's own, driven through its loop with real counts; `fees`: told of the prices.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from backends import jax_device
from backends import statevector as sv
from measurement import (
    ExecutionPlan,
    Grouping,
    GroupVariances,
    ShiftRule,
    all_shifts,
    allocate,
    fewest,
    fully_commuting,
    prior_variances,
    qubit_wise_commuting,
)
from problems import Circuit
from shotwise.spec import load_spec
from tasks.advance import advance
from tasks.evaluate import BatchResult, answer_from, exact_energies, plan_iteration
from tasks.prepare import prepare
from tasks.prepared import Prepared
from tasks.result import final_from, final_plan
from tasks.state import LoopState, initial

EXAMPLES = Path(__file__).parent.parent / "examples"
ACCURACY = 1.6e-3
FEE_USD, SHOT_USD = 0.30, 0.00145
SHOTS_MAX = {"h2": 3e6, "heh_plus": 6e6, "lih_active": 1.5e8}
LARGER = {
    name: f"{{kind: molecule, geometry: '{geometry}', active_space: {{electrons: {electrons}, orbitals: 6}}}}"
    for name, geometry, electrons in (
        ("beh2", "Be 0 0 0; H 0 0 1.326; H 0 0 -1.326", 4),
        ("h2o", "O 0 0 0; H 0.7572 0.5865 0; H -0.7572 0.5865 0", 8),
        ("n2", "N 0 0 0; N 0 0 1.0977", 6),
    )
}
"""Problems of 12 qubits beside those of `examples`; lengths in angstrom."""


@dataclass(frozen=True)
class Reached:
    """What a run took until it was there; infinite where it never was."""

    shots: float
    circuits: float
    iterations: int

    @property
    def usd(self) -> float:
        return FEE_USD * self.circuits + SHOT_USD * self.shots


NEVER = Reached(math.inf, math.inf, 0)


def ready(molecule: str, seed: int, optimizer: str, execution: str) -> Prepared:
    molecule, _, symmetry = molecule.partition("/")
    overrides = [f"seed={seed}", f"optimizer={optimizer}", f"execution={execution}"]
    if symmetry:
        overrides.append(f"ansatz.symmetry={symmetry}")
    if molecule in LARGER:
        overrides.append(f"problem={LARGER[molecule]}")
    file = "lih_active" if molecule in LARGER else molecule
    return prepare(load_spec(EXAMPLES / f"{file}.yaml", tuple(overrides)))


# --- Shotwise's own, through its loop ---------------------------------------------------------------------


def shots_max(molecule: str) -> float:
    return SHOTS_MAX[molecule.partition("/")[0]]


class Priced(Prepared):
    """A run that counts the fees."""

    @cached_property
    def shots_a_circuit(self) -> float:
        return FEE_USD / SHOT_USD


def priced(prepared: Prepared) -> Prepared:
    return Priced(prepared.spec, prepared.problem, prepared.ansatz, prepared.device)


def own(
    optimizer: str, execution: str = "{mode: shots, policy: adaptive}", *, fees: bool = False
) -> Callable[[str, int], Reached]:
    def run(molecule: str, seed: int) -> Reached:
        prepared = ready(molecule, seed, optimizer, execution)
        prepared = priced(prepared) if fees else prepared
        circuits = 0
        for plan, state in iterate(prepared):
            circuits += len(plan)
            if above_reference(prepared, state) < ACCURACY:
                return Reached(state.shots, circuits, state.iteration)
            if state.shots > shots_max(molecule):
                break
        return NEVER

    return run


def iterate(prepared: Prepared) -> Iterator[tuple[ExecutionPlan, LoopState]]:
    """Every iteration's plan and the state after it, without journal and orchestration."""
    state = initial(prepared)
    while state.reason is None:
        plan = plan_iteration(prepared, state)
        answer = answer_from(prepared, state, BatchResult.free(plan, prepared.device.sample(plan)))
        state, _ = advance(prepared, state, answer)
        yield plan, state


def above_reference(prepared: Prepared, state: LoopState) -> float:
    reference = prepared.problem.reference
    assert reference is not None
    circuit = prepared.stage().circuit
    return float(exact_energies(prepared, circuit, state.parameters[None])[0]) - reference.energy


# --- the others --------------------------------------------------------------------------------------------


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
        x, m, v, spent, circuits = np.zeros(d), np.zeros(d), np.zeros(d), 0, 0
        for k in range(1, 1000):
            design = all_shifts(circuit, rule, x)
            means, variances = bench.moments(design.angles)
            energies = means.sum(1) + rng.normal(size=len(design)) * np.sqrt((variances / shots).sum(1))
            gradient = energies @ design.weights[:, 1:]
            circuits += (len(design) - 1) * len(bench.grouping)  # Adam needs no energy
            spent = circuits * shots
            m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
            x = x - 0.1 * (m / (1 - 0.9**k)) / (np.sqrt(v / (1 - 0.999**k)) + 1e-8)
            if bench.reached(x):
                return Reached(spent, circuits, k)
            if spent > shots_max(molecule):
                break
        return NEVER

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
    shots, spent, circuits = np.full(d, least), 0, 0
    for k in range(1, 100_000):
        design = all_shifts(circuit, rule, x)
        means = bench.term_means(design.angles)[0]
        gradient, variance = np.zeros(d), np.zeros(d)
        for row in range(1, len(design)):
            parameter = int(np.flatnonzero(design.weights[row, 1:])[0])
            weight = design.weights[row, 1 + parameter]
            counts = rng.multinomial(shots[parameter], np.abs(coefficients) / norm)
            plus = rng.binomial(counts, np.clip((1 + means[row]) / 2, 0, 1))
            mean = norm * float(np.sign(coefficients) @ (2 * plus - counts)) / shots[parameter]
            gradient[parameter] += weight * mean
            variance[parameter] += weight**2 * (norm**2 - mean**2)
            spent += int(shots[parameter])
            circuits += int(np.count_nonzero(counts))
        x = x - eta * gradient
        chi, xi = mu * chi + (1 - mu) * gradient, mu * xi + (1 - mu) * variance
        slope, noise = chi / (1 - mu**k), xi / (1 - mu**k)
        wanted = np.ceil(2 * lipschitz * eta / (2 - lipschitz * eta) * noise / (slope**2 + b * mu**k))
        gains = (
            (eta - lipschitz * eta**2 / 2) * slope**2 - lipschitz * eta**2 * noise / (2 * wanted)
        ) / wanted
        shots = np.clip(wanted, least, max(wanted[np.argmax(gains)], least)).astype(int)
        if bench.reached(x):
            return Reached(spent, circuits, k)
        if spent > shots_max(molecule):
            break
    return NEVER


CONTENDERS: dict[str, Callable[[str, int], Reached]] = {
    "adam 100": adam(100),
    "adam 1000": adam(1000),
    "adam 10000": adam(10_000),
    "rosalin": rosalin,
    "spsa": own("{name: spsa, max_iterations: 3000}", "{mode: shots, shots: 200}"),
    "spsa, fees": own("{name: spsa, max_iterations: 3000}", "{mode: shots, shots: 200}", fees=True),
    "icans": own("{name: icans, max_iterations: 3000}"),
    "gcans": own("{name: gcans, max_iterations: 3000}"),
    "bayes_newton": own("{name: bayes_newton, max_iterations: 3000}"),
    "cost_cans, fees": own("{name: cost_cans, max_iterations: 3000}", fees=True),
    "bayes_newton, fees": own("{name: bayes_newton, max_iterations: 3000}", fees=True),
}


def reach(seeds: int, molecules: list[str], contenders: list[str]) -> pd.DataFrame:
    rows = []
    for molecule in molecules:
        for name in contenders:
            run = CONTENDERS[name]
            found = [run(molecule, seed) for seed in range(seeds)]
            shots = np.array([r.shots for r in found])
            usd = np.array([r.usd for r in found])
            low, median, high = np.quantile(shots, [0.25, 0.5, 0.75], method="nearest")
            rows.append(
                {
                    "molecule": molecule,
                    "contender": name,
                    "shots q1": low,
                    "shots median": median,
                    "shots q3": high,
                    "usd median": round(float(np.quantile(usd, 0.5, method="nearest")), 2),
                    "reached": f"{np.isfinite(shots).sum()}/{seeds}",
                }
            )
            print(rows[-1], flush=True)
    return pd.DataFrame(rows)


def allocation() -> pd.DataFrame:
    """Shots times squared error after a pilot of 100 shots a group, over Neyman's optimum, at the optimum."""
    rows = []
    for molecule in ("h2", "heh_plus", "lih_active", *LARGER):
        prepared = ready(molecule, 0, "{name: lbfgs}", "{mode: exact}")
        best = optimum(prepared)
        for make in (qubit_wise_commuting, fully_commuting, fewest):
            grouping = make(prepared.problem.hamiltonian)
            sigma = np.sqrt(group_variances_at(prepared, grouping, best))
            ratios = []
            for seed in range(20):
                shots = allocate(100_000 * len(grouping), piloted(prepared, grouping, best, seed).sigmas)
                ratios.append(shots.sum() * (sigma**2 / shots).sum() / sigma.sum() ** 2)
            row = {
                "molecule": molecule,
                "grouping": grouping.kind,
                "groups": len(grouping),
                "neyman": sigma.sum() ** 2,
                "over neyman median": np.median(ratios),
                "over neyman max": np.max(ratios),
            }
            print(row, flush=True)
            rows.append(row)
    return pd.DataFrame(rows)


def optimum(prepared: Prepared) -> np.ndarray:
    """The ansatz's best parameters, by the exact engine."""
    from scipy.optimize import minimize

    circuit, hamiltonian = prepared.stage().circuit, prepared.problem.hamiltonian

    def energy(x: np.ndarray) -> tuple[float, np.ndarray]:
        found = prepared.device.expectation(circuit, hamiltonian, circuit.angles(x[None]), gradient=True)
        assert found.gradients is not None
        return found.values[0], found.gradients[0] @ circuit.jacobian()

    return minimize(energy, np.zeros(circuit.n_parameters), jac=True, method="BFGS").x


def group_variances_at(prepared: Prepared, grouping: Grouping, point: np.ndarray) -> np.ndarray:
    """Exact single-shot variances of the groups, shape (groups,)."""
    angles = prepared.stage().circuit.angles(point[None])
    return Bench(prepared, grouping).moments(angles)[1][0]


def piloted(prepared: Prepared, grouping: Grouping, point: np.ndarray, seed: int) -> GroupVariances:
    """What 100 shots a group tell of their variances."""
    circuit, groups = prepared.stage().circuit, len(grouping)
    plan = ExecutionPlan(
        circuit,
        circuit.angles(point[None]),
        grouping.bases,
        np.zeros(groups, dtype=np.int64),
        np.arange(groups),
        np.full(groups, 100),
        (seed,),
    )
    hamiltonian = prepared.problem.hamiltonian
    prior = GroupVariances.prior(prior_variances(grouping, hamiltonian, circuit.initial_state))
    return prior.updated([(plan, jax_device.JaxDevice().sample(plan))], grouping)


def honesty(runs: int) -> pd.DataFrame:
    """How often the final 95 % interval covers the true energy of the final state."""
    rows = []
    for molecule, execution in (
        ("h2", "{mode: shots, policy: adaptive, target_std_error: 5.0e-3}"),
        ("heh_plus", "{mode: shots, policy: adaptive, target_std_error: 5.0e-3}"),
        ("h2", "{mode: shots, shots: 1000}"),
    ):
        covered, achieved = 0, []
        for seed in range(runs):
            prepared = ready(molecule, seed, "{name: auto, max_iterations: 30}", execution)
            state = initial(prepared)
            for _, after in iterate(prepared):
                state = after
            plan = final_plan(prepared, state)
            final = final_from(prepared, state, BatchResult.free(plan, prepared.device.sample(plan)))
            exact = float(exact_energies(prepared, prepared.stage().circuit, state.parameters[None])[0])
            covered += abs(final.energy - exact) <= 1.96 * final.energy_std_error
            achieved.append(final.energy_std_error)
        rows.append(
            {
                "molecule": molecule,
                "execution": execution,
                "runs": runs,
                "covered %": 100 * covered / runs,
                "std error median": np.median(achieved),
            }
        )
        print(rows[-1], flush=True)
    return pd.DataFrame(rows)


def ends(seeds: int, molecules: list[str]) -> pd.DataFrame:
    """What whole runs to chemical accuracy take, told of the fees, and where they end; medians."""
    rows = []
    execution = "{mode: shots, policy: adaptive, target_std_error: 1.6e-3}"
    for molecule in molecules:
        runs = []
        for seed in range(seeds):
            prepared = priced(ready(molecule, seed, "{name: auto, max_iterations: 300}", execution))
            state, circuits = initial(prepared), 0
            for plan, after in iterate(prepared):
                state, circuits = after, circuits + len(plan)
            final = final_plan(prepared, state)
            runs.append(
                {
                    "iterations": state.iteration,
                    "shots": state.shots,
                    "steps USD": FEE_USD * circuits + SHOT_USD * state.shots,
                    "final USD": FEE_USD * len(final) + SHOT_USD * final.shots_total,
                    "mHa above FCI": 1e3 * above_reference(prepared, state),
                }
            )
        medians = {column: np.median([run[column] for run in runs]) for column in runs[0]}
        worst = max(run["mHa above FCI"] for run in runs)
        rows.append({"molecule": molecule, **medians, "worst mHa": worst})
        print(rows[-1], flush=True)
    return pd.DataFrame(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=("reach", "ends", "allocation", "honesty"))
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--runs", type=int, default=300)
    parser.add_argument("--molecules", nargs="+", default=["h2", "heh_plus", "lih_active"])
    parser.add_argument("--contenders", nargs="+", default=list(CONTENDERS), choices=list(CONTENDERS))
    given = parser.parse_args()
    table = {
        "reach": lambda: reach(given.seeds, given.molecules, given.contenders),
        "ends": lambda: ends(given.seeds, given.molecules),
        "allocation": allocation,
        "honesty": lambda: honesty(given.runs),
    }[given.what]()
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()
