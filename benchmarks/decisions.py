"""Decisions a second and their p99: one batch over 100 devices with 10,000 jobs waiting, on one core.

    python benchmarks/decisions.py [--decisions 2000]

The policies' rows select and write the record, from predictions that are all new. The last row is the whole
of it: 100 simulated devices asked for calibration and status, predictions looked up, the journal of 10,000
jobs asked how each device did lately, selected and written.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from functools import partial
from itertools import cycle, islice

import numpy as np
from sqlalchemy import insert

from backends.catalog import load_catalog
from backends.dispatch import POLICIES, Candidate, RoutingRequest, select
from ledger import Database, Journal, NewRun, now_us
from ledger.tables import jobs
from shotwise.spec import validate
from tasks.evaluate import plan_iteration
from tasks.prepare import prepare
from tasks.routing import decide, excluded_devices
from tasks.state import initial


def fleet(rng: np.random.Generator, devices: int, jobs: int) -> list[Candidate]:
    """Devices with the waiting jobs shared among them."""
    waiting = rng.multinomial(jobs, rng.dirichlet(np.ones(devices)))
    return [
        Candidate(
            device=f"device-{at}",
            refusal="calibration holds an error of 1" if rng.random() < 0.1 else None,
            cost_micro_usd=int(rng.integers(10**5, 10**8)),
            cost_micro_usd_max=int(rng.integers(10**5, 10**8)),
            wait_s=float(waiting[at] * rng.uniform(5, 60)),
            run_s=float(rng.uniform(1, 60)),
            success=float(rng.uniform(0.1, 1)),
            bias=float(rng.uniform(0, 0.5)),
            std_error=0.02,
            waiting_jobs=int(waiting[at]),
        )
        for at in range(devices)
    ]


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds of the clock and of this process, which differ where others use the core too."""
    clock, process = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - clock, time.process_time() - process


def decided(candidates: list[Candidate], progress: float, policy: str) -> str:
    return select(candidates, RoutingRequest(progress), policy).to_json()


def whole(decisions: int) -> list[tuple[float, float]]:
    """Times of each whole decision, after a first one that transpiles."""
    names = [d.name for d in load_catalog().enabled if d.calibration == "snapshot"]
    with tempfile.TemporaryDirectory() as folder:
        database = Database(f"sqlite:///{folder}/journal.db")
        _fill(database, names, 10_000)
        spec = {
            "problem": {"kind": "molecule", "geometry": "H 0 0 0; H 0 0 0.7414"},
            "optimizer": {"name": "spsa"},
            "execution": {"mode": "shots", "shots": 1000, "policy": "balanced", "devices": names},
        }
        prepared = prepare(validate(spec))
        assert prepared.fleet is not None
        prepared.fleet.names = tuple(islice(cycle(names), 100))  # the catalog has a third of that
        plan = plan_iteration(prepared, initial(prepared))

        def one() -> None:
            decide(prepared, plan, RoutingRequest(), excluded_devices(prepared, database)).to_json()

        one()
        taken = [timed(one) for _ in range(decisions)]
        database.close()
    return taken


def _fill(database: Database, names: list[str], count: int) -> None:
    """Jobs of the last day that wait, with the usual size of a result."""
    journal = Journal(database)
    run_id = journal.create_run(
        NewRun(name="r", kind="x", spec_json="{}", problem_sha256="", versions_json="{}")
    )
    rows = [
        {
            "token": str(at),
            "run_id": run_id,
            "iteration": at,
            "batch": 0,
            "attempt": 0,
            "device": names[at % len(names)],
            "state": "submitted",
            "shots": 1000,
            "cost_micro_usd": 1,
            "quote_micro_usd": 1,
            "created_us": now_us() - at,
            "calibration_json": "x" * 10_000,
        }
        for at in range(count)
    ]
    with database.write() as connection:
        connection.execute(insert(jobs), rows)


def row(name: str, taken: list[tuple[float, float]]) -> None:
    clock, process = 1e3 * np.array(taken).T
    print(
        f"{name:16} {1e3 / process.mean():12.0f} {np.median(clock):11.2f} {np.percentile(clock, 99):8.2f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--decisions", type=int, default=2000)
    decisions = parser.parse_args().decisions
    rng = np.random.default_rng(0)
    print("policy            decisions/s   median ms   p99 ms   (a second of one core; ms of the clock)")
    for policy in POLICIES:
        fleets = [fleet(rng, 100, 10_000) for _ in range(20)]
        taken = [timed(partial(decided, fleets[at % 20], at / decisions, policy)) for at in range(decisions)]
        row(policy, taken)
    row("whole decision", whole(decisions // 10))


if __name__ == "__main__":
    main()
