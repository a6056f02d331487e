"""The load drill: many small runs at once on two workers, everything on PostgreSQL.

    python benchmarks/load_drill.py [--runs 50] [--workers 2] [--folder DIR]

Prints one JSON line: how many runs finished, the times that submissions took (journal and server, one after
the other in one process while the workers work), and how often a log says that a database was locked.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import sys
import tempfile
import time
from pathlib import Path

from deployments.stack import Options, Stack
from ledger import Database, RunState, Submissions
from shotwise.home import Home
from shotwise.spec import validate

SPEC = {
    "name": "small",
    "problem": {"kind": "molecule", "geometry": "H 0 0 0; H 0 0 0.7414"},
    "ansatz": {"kind": "uccsd"},
    "optimizer": {"name": "adam", "learning_rate": 0.1, "max_iterations": 20, "tolerance": 0.0},
    "execution": {"mode": "shots", "shots": 100},
}
FINISH_S_MAX = 3600.0


def main() -> None:
    options = _parser().parse_args()
    folder = Path(options.folder or tempfile.mkdtemp(prefix="shotwise-load-"))
    os.environ["SHOTWISE_HOME"] = str(folder / "home")
    chosen = Options(
        prefect_port=free_port(), mlflow_port=free_port(), workers=options.workers, runs_a_worker=25
    )
    stack = Stack(Home.from_environment(), chosen)
    began = time.monotonic()
    stack.up()
    print(f"up after {time.monotonic() - began:.1f} s", file=sys.stderr)
    try:
        print(json.dumps(drill(stack, options.runs)))
    finally:
        stack.down()


def drill(stack: Stack, runs: int) -> dict:
    os.environ["PREFECT_API_URL"] = stack.team.prefect_api_url
    from tasks.submitting import Submitter

    times = []
    began = time.monotonic()
    with Submitter(stack.home) as submitter:
        for number in range(runs):
            before = time.monotonic()
            submitter.submit(validate({**SPEC, "seed": number}), "default")
            times.append(time.monotonic() - before)
    submissions = Submissions(Database(stack.home.database_url))
    while submissions.unfinished() and time.monotonic() < began + FINISH_S_MAX:
        time.sleep(1)
    states = [run.state for run in submissions.all()]
    logs = "".join(path.read_text(errors="replace") for path in stack.home.logs.glob("*.log"))
    return {
        "runs": runs,
        "completed": states.count(RunState.COMPLETED),
        "all_done_s": round(time.monotonic() - began, 1),
        "submit_p50_s": round(statistics.median(times), 3),
        "submit_p95_s": round(statistics.quantiles(times, n=20)[-1], 3),
        "database_is_locked": logs.count("database is locked"),
    }


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", help="state folder; a temporary one by default")
    return parser


if __name__ == "__main__":
    main()
