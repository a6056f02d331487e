"""A scan of 20 bond lengths on one worker and on two.

python benchmarks/sweep.py [--points 20] [--spec FILE] [--atoms Li H] [--core-a-worker]

Each goes into a state folder of its own, as `shotwise sweep` by hand; energies must agree to the last bit.
One worker uses every core that its run has work for; `--core-a-worker` gives a run as many cores as workers.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=20)
    parser.add_argument("--spec", default="examples/lih_full.yaml")
    parser.add_argument("--atoms", nargs=2, default=("Li", "H"), help="of the spec's molecule")
    parser.add_argument("--core-a-worker", action="store_true")
    options = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    lengths = [1.0 + 1.5 * i / max(1, options.points - 1) for i in range(options.points)]
    first, second = options.atoms
    geometries = ",".join(f'"{first} 0 0 0; {second} 0 0 {length:.4f}"' for length in lengths)
    seconds, energies = {}, {}
    for workers in (1, 2):
        with tempfile.TemporaryDirectory() as home:
            command = [sys.executable, "-m", "flows.cli", "sweep", options.spec, "--json"]
            command += ["--over", f"problem.geometry={geometries}", "--workers", str(workers)]
            os.sched_setaffinity(0, cores[:workers] if options.core_a_worker else cores)
            started = time.perf_counter()
            done = subprocess.run(
                command, env={**os.environ, "SHOTWISE_HOME": home}, capture_output=True, text=True, check=True
            )
            seconds[workers] = time.perf_counter() - started
            energies[workers] = [row["energy"] for row in json.loads(done.stdout)]
            print(f"{options.points} points on {workers} workers: {seconds[workers]:.1f} s", flush=True)
    print(f"ratio {seconds[1] / seconds[2]:.2f}, energies equal: {energies[1] == energies[2]}")


if __name__ == "__main__":
    main()
