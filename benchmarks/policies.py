"""Policies at equal budget over the calibrated noisy fleet: error, cost and simulated time.

    python benchmarks/policies.py [--seeds 5] [--problems h2 heh_plus maxcut] [--usd 60]

Every run may spend the same money. Error is that of the true energy at the final parameters plus the bias of
the device that measured it, against the reference; time is the queue and run time that the catalog's models
give, summed over the decisions. Free devices are left out: with them every policy costs nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path

import numpy as np

from backends.catalog import load_catalog
from backends.dispatch import POLICIES
from ledger import BudgetExceededError, Database, JobBook, Journal, Ledger, decisions_of
from shotwise.errors import ShotwiseError
from shotwise.spec import validate
from tasks.advance import advance
from tasks.durable import Buyer
from tasks.evaluate import answer_from, exact_energies, plan_iteration
from tasks.prepare import prepare
from tasks.purchase import fits_budget, purchase, question_of
from tasks.result import final_from, final_plan
from tasks.state import initial

PROBLEMS = {
    "h2": {"kind": "molecule", "geometry": "H 0 0 0; H 0 0 0.7414"},
    "heh_plus": {"kind": "molecule", "geometry": "He 0 0 0; H 0 0 1.463", "units": "bohr", "charge": 1},
    "maxcut": {"kind": "maxcut", "generator": {"name": "random_regular", "degree": 3, "nodes": 8, "seed": 1}},
}


def fleet(n_qubits: int) -> list[str]:
    """Enabled devices that cost something and are large enough."""
    return [d.name for d in load_catalog().enabled if not d.price.is_free and d.n_qubits >= n_qubits]


def run(
    problem: str, policy: str, seed: int, usd: float, iterations: int, folder: Path
) -> tuple[float, float, float]:
    """(error, cost in USD, simulated hours) of one run."""
    devices = fleet(8 if problem == "maxcut" else 4)
    spec = validate(
        {
            "name": f"{problem}-{policy}",
            "problem": PROBLEMS[problem],
            "optimizer": {"name": "spsa", "learning_rate": 0.15, "max_iterations": iterations},
            "execution": {"mode": "shots", "shots": 500, "policy": policy, "devices": devices},
            "budget": {"usd": usd},
            "seed": seed,
        }
    )
    prepared = prepare(spec)
    journal = Journal(Database(f"sqlite:///{folder / f'{problem}-{policy}-{seed}.db'}"))
    run_id = journal.create_run(name="run", kind="x", spec_json="{}", problem_sha256="", versions_json="{}")
    account = f"bench/{problem}/{run_id}"
    ledger = Ledger(journal.database)
    ledger.open_account(account)
    ledger.set_limit(account, micro_usd=round(usd * 1e6))
    assert prepared.fleet is not None
    buyer = Buyer(JobBook(journal.acquire(run_id), account), prepared.fleet)
    state, measured_energy = initial(prepared), float("nan")
    while state.reason is None and fits_budget(
        prepared, buyer, state, plan := plan_iteration(prepared, state)
    ):
        question = question_of(prepared, buyer, state)
        try:
            measured = purchase(prepared, buyer, state.iteration, plan, question, final=False)
        except BudgetExceededError:
            break
        state, record = advance(prepared, state, answer_from(prepared, state, measured))
        measured_energy = record.energy
    try:
        question = question_of(prepared, buyer, state)
        bought = purchase(prepared, buyer, state.iteration, final_plan(prepared, state), question, final=True)
        measured_energy = final_from(prepared, state, bought).energy
    except ShotwiseError:
        pass
    assert prepared.problem.reference is not None
    circuit = prepared.stage().circuit
    true = exact_energies(prepared, circuit, state.parameters[None, :])[0]
    error = abs(true - prepared.problem.reference.energy) + abs(measured_energy - true)
    hours = sum(_hours(json.loads(text)) for *_, text in decisions_of(journal.database, run_id))
    return float(error), ledger.balance(account).posted.micro_usd / 1e6, hours


def _hours(decision: dict) -> float:
    chosen = {device for device, _ in decision["route"]}
    times = [
        v["candidate"]["wait_s"] + v["candidate"]["run_s"]
        for v in decision["verdicts"]
        if v["candidate"]["device"] in chosen
    ]
    return max(times) / 3600


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--problems", nargs="+", default=list(PROBLEMS), choices=list(PROBLEMS))
    parser.add_argument("--policies", nargs="+", default=list(POLICIES), choices=list(POLICIES))
    parser.add_argument("--usd", type=float, default=60.0)
    parser.add_argument("--iterations", type=int, default=30)
    arguments = parser.parse_args()
    print("problem    policy            error (median, quartiles)      cost USD   simulated hours")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SHOTWISE_HOME"] = folder
        for problem in arguments.problems:
            for policy in arguments.policies:
                found = np.array(
                    [
                        run(problem, policy, seed, arguments.usd, arguments.iterations, Path(folder))
                        for seed in range(arguments.seeds)
                    ]
                )
                low, mid, high = np.percentile(found[:, 0], [25, 50, 75])
                cost, hours = np.median(found[:, 1]), np.median(found[:, 2])
                print(
                    f"{problem:10} {policy:16} {mid:9.4f} ({low:.4f}..{high:.4f}) {cost:14.2f} {hours:12.1f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
