"""A scan of 20 bond lengths on one worker and on two.

python benchmarks/sweep.py [--points 20] [--spec FILE] [--atoms Li H] [--core-a-worker] [--warm]

Each goes into a state folder of its own, as `shotwise sweep` by hand; energies must agree to the last bit.
One worker uses every core that its run has work for; `--core-a-worker` gives a run as many cores as workers.
`--warm`: a Prefect server is up, and the spec itself has been run on the folder, so its shape is compiled.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from shotwise.home import Home
from tasks.prefect_server import PrefectServer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=20)
    parser.add_argument("--spec", default="examples/lih_full.yaml")
    parser.add_argument("--atoms", nargs=2, default=("Li", "H"), help="of the spec's molecule")
    parser.add_argument("--core-a-worker", action="store_true")
    parser.add_argument("--warm", action="store_true")
    options = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    lengths = [1.0 + 1.5 * i / max(1, options.points - 1) for i in range(options.points)]
    first, second = options.atoms
    geometries = ",".join(f'"{first} 0 0 0; {second} 0 0 {length:.4f}"' for length in lengths)
    seconds, energies = {}, {}
    for workers in (1, 2):
        with tempfile.TemporaryDirectory() as home:
            os.sched_setaffinity(0, cores[:workers] if options.core_a_worker else cores)
            over = ["--over", f"problem.geometry={geometries}", "--workers", str(workers)]
            with _warmed(home, options.spec) if options.warm else nullcontext():
                started = time.perf_counter()
                done = _shotwise(home, "sweep", options.spec, "--json", *over)
                seconds[workers] = time.perf_counter() - started
            energies[workers] = [row["energy"] for row in json.loads(done.stdout)]
            print(f"{options.points} points on {workers} workers: {seconds[workers]:.1f} s", flush=True)
    print(f"ratio {seconds[1] / seconds[2]:.2f}, energies equal: {energies[1] == energies[2]}")


@contextmanager
def _warmed(home: str, spec: str) -> Iterator[None]:
    """A Prefect server for the folder, on which the spec has been run."""
    server = PrefectServer.start(Home(Path(home)))
    try:
        server.wait()
        _shotwise(home, "run", spec, "--quiet")
        yield
    finally:
        server.stop()


def _shotwise(home: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "flows.cli", *arguments]
    environment = {**os.environ, "SHOTWISE_HOME": home}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True)


if __name__ == "__main__":
    main()
