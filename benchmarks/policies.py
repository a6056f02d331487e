"""Policies at equal budget over the calibrated noisy fleet: error, cost and simulated time.

    python benchmarks/policies.py [--seeds 0 1 2 3 4] [--problems h2 heh_plus maxcut] [--runs FILE]

Finished runs are kept in `--runs` and not run again, so that it can be done in pieces.

Every run starts from random parameters and may spend the same money on SPSA steps of 2000 shots an energy and
on the evaluation that it reports. Devices are the enabled ones that cost something: with free ones every
policy would cost nothing. Noise is that of real calibration snapshots, prices those of real device classes.

The first table is the end of each run: `error` is |reported energy - least energy of the ansatz|,
`parameters` the part of it that is in the parameters, the rest being the reporting device's bias and shot
noise; `hours` are the catalog's expected queues and run times. The others ask what the error that one policy
ends with would have cost the rest, seed by seed, from the same start: each run is cut at its first step from
which on its error stays below that one's (plus its standard error), and pays for the steps so far and for one
final evaluation. A run that never gets there costs infinity.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from itertools import groupby, product
from pathlib import Path

import numpy as np

from backends.catalog import LocalProvider, load_catalog, open_provider
from backends.device import Sampler
from backends.dispatch import POLICIES, Decision
from backends.fleet import Fleet
from ledger import BudgetExceededError, Database, JobBook, Journal, Ledger, NewRun, decisions_of
from measurement import ExecutionPlan, Outcome
from shotwise.spec import validate
from tasks.advance import advance
from tasks.durable import Buyer
from tasks.evaluate import answer_from, exact_energies, plan_iteration
from tasks.prepare import prepare
from tasks.prepared import Prepared
from tasks.purchase import purchase
from tasks.result import final_from, final_plan
from tasks.routing import fits_budget, routing_request
from tasks.state import initial

PROBLEMS = {
    "h2": {"kind": "molecule", "geometry": "H 0 0 0; H 0 0 0.7414"},
    "heh_plus": {"kind": "molecule", "geometry": "He 0 0 0; H 0 0 1.463", "units": "bohr", "charge": 1},
    "maxcut": {"kind": "maxcut", "generator": {"name": "random_regular", "degree": 3, "nodes": 8, "seed": 1}},
}
SHOTS = 2000
START_SPREAD = 0.3
"""Radians. From the usual starts (Hartree-Fock, fixed angles) there would be little left to optimise."""


@dataclass(frozen=True)
class Step:
    """One iteration: what the run had cost after it, and the energy of its parameters without noise."""

    cost_usd: float
    energy: float


@dataclass(frozen=True)
class Run:
    """One finished run.

    Attributes:
        reported, std_error: the energy of the final evaluation and its standard error.
        least: the ansatz's own least energy, which a perfect run would report.
        final_usd: cost of the final evaluation; `hours` and `cost_usd` include it.
        device, final_device: where most steps went, and the final evaluation.
    """

    problem: str
    policy: str
    seed: int
    steps: tuple[Step, ...] = field(repr=False)
    reported: float
    std_error: float
    least: float
    final_usd: float
    cost_usd: float
    hours: float
    device: str
    final_device: str

    @property
    def error(self) -> float:
        return abs(self.reported - self.least)

    @property
    def parameter_error(self) -> float:
        return self.steps[-1].energy - self.least

    def cost_to(self, error: float) -> float:
        """USD until the run's error stays at or below `error`; infinity where it never does."""
        deviation = self.reported - self.steps[-1].energy
        reached = np.inf
        for step in reversed(self.steps):
            if abs(step.energy + deviation - self.least) > error:
                break
            reached = step.cost_usd + self.final_usd
        return reached


class Recalled:
    """A deterministic device that runs equal plans once: policies that agree share their samples."""

    def __init__(self, device: Sampler) -> None:
        self._device = device
        self._known: dict[bytes, Outcome] = {}

    def __getattr__(self, name: str) -> object:
        return getattr(self._device, name)

    def sample(self, plan: ExecutionPlan) -> Outcome:
        key = hashlib.sha256(repr((plan.seed, len(plan.circuit))).encode())
        for array in (plan.angles, plan.point, plan.basis, plan.shots):
            key.update(array.tobytes())
        if key.digest() not in self._known:
            self._known[key.digest()] = self._device.sample(plan)
        return self._known[key.digest()]


def open_fleet(n_qubits: int) -> Fleet:
    """Enabled simulated devices that cost something and are large enough, opened."""
    able = [d for d in load_catalog().enabled if not d.price.is_free and d.n_qubits >= n_qubits]
    fleet = Fleet(tuple(d.name for d in able))
    for description in able:
        opened = open_provider(description)
        assert isinstance(opened, LocalProvider)
        recalled = LocalProvider(
            description,
            Recalled(opened.device),  # pyright: ignore[reportArgumentType]
            calibrate=opened.calibration,  # pyright: ignore[reportArgumentType]
            hardware_use=opened.hardware_use,  # pyright: ignore[reportArgumentType]
        )
        fleet._providers[description.name] = recalled
    return fleet


def prepared_for(problem: str, policy: str, seed: int, fleet: Fleet, usd: float, iterations: int) -> Prepared:
    """A run from random parameters over an opened fleet."""
    spec = validate(
        {
            "name": f"{problem}-{policy}",
            "problem": PROBLEMS[problem],
            "optimizer": {"name": "spsa", "learning_rate": 0.2, "max_iterations": iterations},
            "execution": {"mode": "shots", "shots": SHOTS, "policy": policy, "devices": list(fleet.names)},
            "budget": {"usd": usd},
            "seed": seed,
        }
    )
    prepared = prepare(spec)
    return replace(prepared, fleet=fleet, ansatz=replace(prepared.ansatz, spread=START_SPREAD))


def run(problem: str, policy: str, seed: int, fleet: Fleet, usd: float, iterations: int) -> Run:
    """Drive one run to its end, as the closed loop does, without Prefect."""
    prepared = prepared_for(problem, policy, seed, fleet, usd, iterations)
    with tempfile.TemporaryDirectory() as folder:
        journal = Journal(Database(f"sqlite:///{folder}/journal.db"))
        run_id = journal.create_run(
            NewRun(name="run", kind="x", spec_json="{}", problem_sha256="", versions_json="{}")
        )
        ledger, account = Ledger(journal.database), f"bench/{problem}/{run_id}"
        ledger.open_account(account)
        ledger.set_limit(account, micro_usd=round(usd * 1e6))
        buyer = Buyer(JobBook(journal.acquire(run_id), account), fleet)
        state, steps = initial(prepared), []
        circuit = prepared.stage().circuit
        while state.reason is None:
            plan = plan_iteration(prepared, state)
            if not fits_budget(prepared, buyer, state, plan):
                break
            request = routing_request(prepared, buyer, state)
            try:
                measured = purchase(prepared, buyer, state.iteration, plan, request, final=False)
            except BudgetExceededError:
                break
            state, _ = advance(prepared, state, answer_from(prepared, state, measured))
            energy = float(exact_energies(prepared, circuit, state.parameters[None, :])[0])
            steps.append(Step(state.cost_micro_usd / 1e6, energy))
        request = routing_request(prepared, buyer, state)
        bought = purchase(prepared, buyer, state.iteration, final_plan(prepared, state), request, final=True)
        decisions = [Decision.from_json(text) for *_, text in decisions_of(journal.database, run_id)]
        journal.database.close()
    used = [decision.devices[0] for decision in decisions]
    final = final_from(prepared, state, bought)
    return Run(
        problem, policy, seed, tuple(steps),
        reported=final.energy,
        std_error=final.energy_std_error,
        least=least_energy(prepared),
        final_usd=bought.cost_micro_usd / 1e6,
        cost_usd=(state.cost_micro_usd + bought.cost_micro_usd) / 1e6,
        hours=sum(max(v.candidate.time_s for v in d.chosen) for d in decisions) / 3600,
        device=max(set(used[:-1]), key=used[:-1].count),
        final_device=used[-1],
    )  # fmt: skip


def least_energy(prepared: Prepared) -> float:
    """The ansatz's least energy: a dense search refined by halving steps along each parameter."""
    circuit = prepared.stage().circuit
    d = circuit.n_parameters
    rng = np.random.default_rng(0)
    points = rng.uniform(-np.pi / 2, np.pi / 2, (4000, d))
    points[0] = 0.0
    best = points[np.argmin(exact_energies(prepared, circuit, points))]
    step = 0.2
    while step > 1e-4:
        around = best + np.vstack([np.zeros(d), step * np.eye(d), -step * np.eye(d)])
        at = int(np.argmin(exact_energies(prepared, circuit, around)))
        best, step = around[at], step if at else step / 2
    return float(exact_energies(prepared, circuit, best[None, :])[0])


def print_ends(runs: list[Run]) -> None:
    """The first table: medians (quartiles) over the seeds."""
    print("\n| problem | policy | error | parameters | USD | hours | steps | devices |")
    print("|---|---|---|---|---|---|---|---|")
    for problem, policy, group in _grouped(runs):
        low, mid, high = np.percentile([r.error for r in group], [25, 50, 75])
        parameters, usd, hours, steps = (
            np.median(values)
            for values in (
                [r.parameter_error for r in group],
                [r.cost_usd for r in group],
                [r.hours for r in group],
                [len(r.steps) for r in group],
            )
        )
        where = f"{group[0].device}, then {group[0].final_device}"
        print(
            f"| {problem} | {policy} | {mid:.3f} ({low:.3f} to {high:.3f}) | {parameters:.3f} | {usd:.2f} "
            f"| {hours:.1f} | {steps:.0f} | {where} |"
        )


def print_equal_error(runs: list[Run], against: str) -> None:
    """What the error that `against` ends with costs each policy: median and range over the seeds."""
    print(f"\n| problem | policy | USD to the error of {against} | seeds that reach it |")
    print("|---|---|---|---|")
    targets = {(r.problem, r.seed): r.error + r.std_error for r in runs if r.policy == against}
    for problem, policy, group in _grouped([r for r in runs if (r.problem, r.seed) in targets]):
        costs = np.array([r.cost_to(targets[r.problem, r.seed]) for r in group])
        low, mid, high = np.percentile(costs, [0, 50, 100], method="nearest")
        reached = f"{int(np.isfinite(costs).sum())} of {len(group)}"
        print(f"| {problem} | {policy} | {mid:.2f} ({low:.2f} to {high:.2f}) | {reached} |")


def _grouped(runs: list[Run]) -> Iterator[tuple[str, str, list[Run]]]:
    for problem, policy in dict.fromkeys((run.problem, run.policy) for run in runs):
        yield problem, policy, [r for r in runs if (r.problem, r.policy) == (problem, policy)]


def read_runs(path: Path | None) -> list[Run]:
    """The runs that an earlier call finished."""
    lines = path.read_text().splitlines() if path and path.exists() else []
    found = [json.loads(line) for line in lines]
    return [Run(**{**run, "steps": tuple(Step(**step) for step in run["steps"])}) for run in found]


def keep_run(run: Run, path: Path | None) -> None:
    """Add one to those."""
    if path:
        with path.open("a") as file:
            file.write(json.dumps(asdict(run)) + "\n")


def write_csv(runs: list[Run], path: Path) -> None:
    """One row a run."""
    with path.open("w", newline="") as file:
        ends = ({**asdict(r), "steps": len(r.steps)} for r in runs)
        rows = [
            {**end, "error": r.error, "parameter_error": r.parameter_error}
            for end, r in zip(ends, runs, strict=True)
        ]
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(5)))
    parser.add_argument("--problems", nargs="+", default=list(PROBLEMS), choices=list(PROBLEMS))
    parser.add_argument("--policies", nargs="+", default=list(POLICIES), choices=list(POLICIES))
    parser.add_argument("--usd", type=float, default=45.0)
    parser.add_argument("--iterations", type=int, default=12)
    parser.add_argument("--runs", type=Path, help="where finished runs are kept")
    parser.add_argument("--csv", type=Path, help="also write one row a run")
    arguments = parser.parse_args()
    runs = read_runs(arguments.runs)
    done = {(r.problem, r.policy, r.seed) for r in runs}
    wanted = product(arguments.problems, arguments.seeds, arguments.policies)
    with tempfile.TemporaryDirectory() as home:
        os.environ["SHOTWISE_HOME"] = home
        for problem, group in groupby(wanted, key=lambda run: run[0]):
            fleet = None
            for _, seed, policy in group:
                if (problem, policy, seed) in done:
                    continue
                fleet = fleet or open_fleet(8 if problem == "maxcut" else 4)
                runs.append(run(problem, policy, seed, fleet, arguments.usd, arguments.iterations))
                keep_run(runs[-1], arguments.runs)
                print(runs[-1], flush=True)
    runs.sort(key=lambda r: (list(PROBLEMS).index(r.problem), list(POLICIES).index(r.policy), r.seed))
    print_ends(runs)
    for against in ("best_fidelity", "balanced"):
        print_equal_error(runs, against)
    if arguments.csv:
        write_csv(runs, arguments.csv)


if __name__ == "__main__":
    main()
