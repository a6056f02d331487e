"""Decisions a second and their p99: one batch over 100 devices with 10,000 jobs waiting, on one core.

python benchmarks/decisions.py [--decisions 2000]
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from backends.dispatch import POLICIES, Candidate, Question, select


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--decisions", type=int, default=2000)
    decisions = parser.parse_args().decisions
    rng = np.random.default_rng(0)
    print("policy            decisions/s   median ms   p99 ms   (decided and written as JSON)")
    for policy in POLICIES:
        fleets = [fleet(rng, 100, 10_000) for _ in range(20)]
        taken = []
        for at in range(decisions):
            candidates = fleets[at % len(fleets)]
            started = time.perf_counter()
            select(candidates, Question(at / decisions), policy).to_json()
            taken.append(time.perf_counter() - started)
        ms = 1e3 * np.array(taken)
        print(
            f"{policy:16} {1e3 / ms.mean():12.0f} {np.median(ms):11.2f} {np.percentile(ms, 99):8.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
