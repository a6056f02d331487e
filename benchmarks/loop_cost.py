"""What orchestration costs a sampled iteration: task runs, the journal's commits, MLflow beside it.

    python benchmarks/loop_cost.py [--iterations 60] [--csv FILE]

H2 with SPSA and 200 shots an energy, so that an iteration itself is short. The orchestrated run is `vqe` as a
user starts it, with its server up and its tracker logging; the bare loop is the same plan, sample and advance
in the same process, without Prefect, journal and MLflow. They alternate; medians of the time from one
iteration to the next, and means of the orchestrated one, 20 times as long, whose iterations share task
runs. The same run through the dispatcher, where every iteration has two task runs, a decision, a reservation,
a slot and a job of its own, is `routed`. Beside them two task runs that do nothing, which is Prefect's part.
"""

from __future__ import annotations

import argparse
import csv
import os
import statistics
import tempfile
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from shotwise.home import Home
from tasks.prefect_server import PrefectServer

ROUNDS = 3
PATIENCE = 200


def spec_of(iterations: int, **execution: object):
    from shotwise.spec import validate

    return validate(
        {
            "name": "loop_cost",
            "problem": {"kind": "molecule", "geometry": "H 0 0 0; H 0 0 0.7414"},
            "optimizer": {"name": "spsa", "max_iterations": iterations, "tolerance": 0.0},
            "execution": {"mode": "shots", "shots": 200} | execution,
        }
    )


def bare_ms(iterations: int) -> list[float]:
    from tasks.advance import advance
    from tasks.evaluate import BatchResult, answer_from, plan_iteration
    from tasks.prepare import prepare
    from tasks.state import initial

    prepared = prepare(spec_of(iterations))
    state, at = initial(prepared), [time.perf_counter()]
    while state.reason is None:
        plan = plan_iteration(prepared, state)
        measured = BatchResult.free(plan, prepared.device.sample(plan))
        state, _ = advance(prepared, state, answer_from(prepared, state, measured))
        at.append(time.perf_counter())
    return _gaps_ms(at)


def orchestrated_ms(iterations: int, **execution: object) -> float:
    """Mean of an iteration, from the first report of progress to the last."""
    from flows.vqe import vqe
    from tasks.progress import progress_listener

    at: list[tuple[float, int]] = []
    with progress_listener(lambda progress: at.append((time.perf_counter(), progress.iteration))):
        vqe(spec=spec_of(iterations, **execution))
    (began, first), (ended, last) = at[0], at[-1]
    return 1e3 * (ended - began) / (last - first)


def empty_ms(iterations: int) -> list[float]:
    from prefect import flow

    from tasks.loop_tasks import loop_task

    @loop_task("empty", "empty {iteration}")
    def empty(iteration: int) -> None:
        pass

    at: list[float] = []

    @flow(name="empty", persist_result=False)
    def pairs() -> None:
        for iteration in range(iterations):
            at.append(time.perf_counter())
            empty(iteration)
            empty(iteration)

    pairs()
    return _gaps_ms(at)


def _gaps_ms(at: list[float]) -> list[float]:
    return [1e3 * (after - before) for before, after in pairwise(at)]


def wait_for_plateaus() -> None:
    """Let no run end before 400 iterations because its energy no longer falls."""
    from optimizers import build_termination
    from tasks import stage

    def patient(*arguments):
        return replace(build_termination(*arguments), patience=PATIENCE)

    stage.build_termination = patient


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--iterations", type=int, default=60)
    parser.add_argument("--csv", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SHOTWISE_HOME"] = str(Path(folder) / "home")
        server = PrefectServer.start(Home.from_environment().make())
        try:
            server.apply_environment()
            server.wait()
            wait_for_plateaus()
            bare_ms(5)
            rows = [
                {
                    "round": at,
                    "bare_ms": statistics.median(bare_ms(arguments.iterations)),
                    "orchestrated_ms": orchestrated_ms(20 * arguments.iterations),
                    "routed_ms": orchestrated_ms(15, devices=["jax"], policy="cheapest"),
                    "empty_ms": statistics.median(empty_ms(arguments.iterations)),
                }
                for at in range(ROUNDS)
            ]
        finally:
            server.stop()
    print("round  bare ms  orchestrated ms  cost ms an iteration  routed ms  two empty task runs ms")
    for row in rows:
        cost = row["orchestrated_ms"] - row["bare_ms"]
        run = f"{row['bare_ms']:8.2f} {row['orchestrated_ms']:16.2f} {cost:21.2f}"
        print(f"{row['round']:5} {run} {row['routed_ms']:10.2f} {row['empty_ms']:23.2f}")
    if arguments.csv:
        with arguments.csv.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
