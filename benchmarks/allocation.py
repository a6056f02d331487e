"""Shots times squared error after a pilot of 100 shots a group, over Neyman's optimum, at the optimum.

python benchmarks/allocation.py
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from molecule_runs import LARGER, ready
from pennylane_ways import Bench

from backends import jax_device
from measurement import (
    ExecutionPlan,
    Grouping,
    GroupVariances,
    allocate,
    fewest,
    fully_commuting,
    prior_variances,
    qubit_wise_commuting,
)
from tasks.prepared import Prepared


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


if __name__ == "__main__":
    print(allocation().to_string(index=False))
