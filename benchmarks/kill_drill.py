"""The kill drill: workers are killed again and again while a queue of paid runs is worked off.

    python benchmarks/kill_drill.py [--kills 20] [--runs 10] [--seed 1] [--folder DIR]

Two workers on the services of one machine, a sandbox provider that queues every job. A kill is SIGKILL to a
worker and to all that it started. Prints one JSON line: how many runs finished, what was bought twice, which
budget was breached, and how long it took from a kill until each run that the worker drove was driven again.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import socket
import statistics
import sys
import tempfile
import time
from decimal import Decimal
from pathlib import Path

from pydantic import SecretStr

from backends.fleet import SANDBOX_URL, Fleet
from backends.sandbox.connection import KEY_VARIABLE
from backends.sandbox.process import SandboxProcess
from deployments.stack import Options, Stack
from ledger import Currency, Database, Holder, Journal, Ledger, RunState, Submissions
from shotwise.home import Home
from shotwise.spec import validate
from tasks.reconcile import reconcile

SPEC = {
    "name": "drill",
    "problem": {"kind": "molecule", "geometry": "H 0 0 0; H 0 0 0.7414"},
    "ansatz": {"kind": "uccsd"},
    "optimizer": {"name": "spsa", "learning_rate": 0.1, "max_iterations": 60},
    "execution": {"mode": "shots", "shots": 200, "device": "sandbox-noisy"},
    "budget": {"usd": 2000},
    "account": {"tenant": "drill", "project": "kill"},
}
TENANT_USD = 20_000
FINISH_S_MAX = 3600.0
BETWEEN_KILLS_S = (10.0, 30.0)


def main() -> None:
    options = _parser().parse_args()
    folder = Path(options.folder or tempfile.mkdtemp(prefix="shotwise-drill-"))
    key = SecretStr("the-drills-own-sandbox-key")
    os.environ |= {KEY_VARIABLE: key.get_secret_value(), "SHOTWISE_HOME": str(folder / "home")}
    os.environ["PREFECT_WORKER_QUERY_SECONDS"] = "2"
    with SandboxProcess(folder / "sandbox", queue_scale=Decimal(5), key=key) as sandbox:
        os.environ[SANDBOX_URL] = sandbox.url
        home = Home.from_environment()
        stack = Stack(home, Options(
            prefect_port=_free_port(), mlflow_port=_free_port(), workers=2, runs_a_worker=2,
            keeper_every_s=3.0, pending_s=120.0, running_s=5.0,
        ))  # fmt: skip
        began = time.monotonic()
        stack.up()
        print(f"up after {time.monotonic() - began:.1f} s", file=sys.stderr)
        try:
            print(json.dumps(drill(stack, options.kills, options.runs, options.seed)))
        finally:
            stack.down()


def drill(stack: Stack, kills: int, runs: int, seed: int) -> dict:
    """Submit, kill, wait for the last run, look at the books."""
    home = stack.home
    os.environ |= {"PREFECT_API_URL": stack.team.prefect_api_url}
    from tasks.submitting import Submitter

    database = Database(home.database_url)
    journal, submissions, ledger = Journal(database), Submissions(database), Ledger(database)
    ledger.open_account("drill")
    ledger.set_limit("drill", shots=None, micro_usd=TENANT_USD * 1_000_000)
    with Submitter(home) as submitter:
        for number in range(runs):
            submitter.submit(validate({**SPEC, "seed": number}), "default")
    rng = random.Random(seed)
    deaths: list[tuple[str, int, float]] = []
    killed = 0
    while killed < kills and submissions.unfinished():
        time.sleep(rng.uniform(*BETWEEN_KILLS_S))
        victims = [w for w in stack.workers if _driven_by(journal, submissions, w)]
        if not victims:
            continue
        worker = rng.choice(victims)
        driven = _driven_by(journal, submissions, worker)
        worker.kill()
        killed += 1
        deaths += [(run_id, fence, time.time()) for run_id, fence in driven]
        print(f"kill {killed}: {worker.name}, driving {', '.join(r for r, _ in driven)}", file=sys.stderr)
    give_up = time.monotonic() + FINISH_S_MAX
    while submissions.unfinished() and time.monotonic() < give_up:
        time.sleep(1)
    return _report(home, database, killed, deaths)


def _driven_by(journal: Journal, submissions: Submissions, worker) -> list[tuple[str, int]]:
    """Runs whose driver is a process of this worker's, with the fence of that drive."""
    pids = {member.pid for member in worker.members()}
    driven = []
    for run in submissions.unfinished():
        record = journal.run(run.run_id)
        holder = Holder.parse(record.holder)
        if holder and record.state is RunState.RUNNING and holder.pid in pids:
            driven.append((run.run_id, record.fence))
    return driven


def _report(home: Home, database: Database, killed: int, deaths: list[tuple[str, int, float]]) -> dict:
    from sqlalchemy import select

    from ledger.tables import drives, runs

    with database.read() as connection:
        states = connection.execute(select(runs.c.state)).scalars().all()
        starts = {(r, f): s / 1e6 for r, f, s in connection.execute(
            select(drives.c.run_id, drives.c.fence, drives.c.started_us)
        )}  # fmt: skip
        drives_count = len(starts)
    waits = sorted(
        starts[run_id, fence + 1] - at for run_id, fence, at in deaths if (run_id, fence + 1) in starts
    )
    with Fleet((), home.local_jobs) as fleet:
        found = reconcile(database, fleet.provider)
    lefts = [(b.account, b.left(currency)) for b in Ledger(database).balances() for currency in Currency]
    breaches = [account for account, left in lefts if left is not None and left < 0]
    return {
        "runs": len(states),
        "finished": sum(state == RunState.COMPLETED for state in states),
        "kills": killed,
        "drives_killed": len(deaths),
        "drives": drives_count,
        "bought_twice": sum(d.kind == "bought twice" for d in found),
        "differences": [f"{d.kind}: {d.note}" for d in found],
        "breaches": breaches,
        "resumed_median_s": round(statistics.median(waits), 1) if waits else None,
        "resumed_max_s": round(waits[-1], 1) if waits else None,
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", help="state folder; a temporary one by default")
    return parser


if __name__ == "__main__":
    main()
