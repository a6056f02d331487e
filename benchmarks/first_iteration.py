"""Seconds from `shotwise run examples/h2.yaml` to its first iteration, imports and Prefect server included.

    python benchmarks/first_iteration.py [--runs 5]

The first run has a fresh state folder; the others find it there, with JAX's compiled programs.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SPEC = Path(__file__).parents[1] / "examples" / "h2.yaml"


def first_iteration_s(home: Path) -> tuple[float, float]:
    """(seconds to the first iteration, seconds to the end)."""
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "flows.cli", "run", str(SPEC)],
        env={**os.environ, "SHOTWISE_HOME": str(home)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    first = None
    for line in process.stderr:
        if first is None and "iteration" in line:
            first = time.perf_counter() - started
    assert process.wait() == 0
    assert first is not None
    return first, time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as folder:
        times = [first_iteration_s(Path(folder) / "home") for _ in range(runs)]
    print("run    first iteration   end")
    for at, (first, end) in enumerate(times):
        print(f"{'fresh' if at == 0 else 'warm':6} {first:10.1f} s {end:10.1f} s")
    if runs > 1:
        print(f"median of the warm: {statistics.median(first for first, _ in times[1:]):.1f} s")


if __name__ == "__main__":
    main()
