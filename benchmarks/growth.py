"""Time and memory of the diagonal engine against qubits and depth, and where the time goes.

python benchmarks/growth.py [--nodes-max 22] [--out build/bench]

Every point is measured in a process of its own, whose peak resident memory is reported less what an idle one
has. Writes growth.csv, growth.png and, for the profile, profile.csv.
"""

from __future__ import annotations

import argparse
import csv
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

LAYERS = 4
DEPTHS = (1, 2, 4, 8, 16)
ROUNDS = 3


def measure(nodes: int, layers: int) -> dict[str, float]:
    """Seconds of the parts and peak memory, in this process."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    from engines_qaoa import maxcut, ours

    from backends.engines.diagonal import DiagonalEngine
    from problems.qaoa import qaoa_circuit

    jax.block_until_ready(jnp.zeros(1))
    idle = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    cost = maxcut(nodes)
    circuit = qaoa_circuit(cost, layers)
    angles = circuit.angles(np.random.default_rng(0).normal(size=(1, 2 * layers)))
    call = ours(cost, circuit, angles, "double", gradient=True)
    found = {"first call s": _best(call, 1), "seconds": _best(call, ROUNDS)}
    found["MiB"] = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - idle) / 1024
    found["bytes needed MiB"] = DiagonalEngine().bytes_needed(circuit, cost) / 2**20
    program = DiagonalEngine().program(circuit, cost)
    state = program.state(angles[0])
    forward = jax.jit(lambda program, angles: program.state(angles))
    reverse = jax.jit(lambda program, state, angles: program.reverse(state, angles, program.energies))
    parts = {
        "layers forward": lambda: forward(program, angles[0]),
        "layers undone, with derivatives": lambda: reverse(program, state, angles[0]),
    }
    for name, part in parts.items():

        def once(part=part):
            return jax.block_until_ready(part())

        once()
        found[name] = _best(once, ROUNDS)
    return found


def _best(call, rounds: int) -> float:
    best = float("inf")
    for _ in range(rounds):
        started = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - started)
    return best


def _apart(nodes: int, layers: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--measure", str(nodes), str(layers)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes-max", type=int, default=22)
    parser.add_argument("--out", type=Path, default=Path("build/bench"))
    parser.add_argument("--measure", nargs=2, type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(*options.measure)))
        return
    options.out.mkdir(parents=True, exist_ok=True)
    by_nodes = {n: _apart(n, LAYERS) for n in range(10, options.nodes_max + 1, 2)}
    by_depth = {p: _apart(16, p) for p in DEPTHS}
    rows = [(n, LAYERS, r) for n, r in by_nodes.items()] + [(16, p, r) for p, r in by_depth.items()]
    with (options.out / "growth.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("qubits", "layers", *rows[0][2]))
        table.writerows((n, p, *(f"{v:.6f}" for v in r.values())) for n, p, r in rows)
    print("qubits layers  first call s   seconds       MiB")
    for n, p, r in rows:
        print(f"{n:6} {p:6} {r['first call s']:13.2f} {r['seconds']:9.4f} {r['MiB']:9.1f}")
    _profile(by_nodes[max(by_nodes)], max(by_nodes), options.out)
    _plot(by_nodes, by_depth, options.out / "growth.png")


def _profile(row: dict[str, float], nodes: int, out: Path) -> None:
    parts = {name: row[name] for name in ("layers forward", "layers undone, with derivatives")}
    parts["energy, adjoint, the rest"] = row["seconds"] - sum(parts.values())
    print(f"where the time goes, {nodes} qubits, {LAYERS} layers")
    with (out / "profile.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("part", "seconds", "share"))
        for name, seconds in parts.items():
            table.writerow((name, f"{seconds:.6f}", f"{seconds / row['seconds']:.3f}"))
            print(f"  {name:40} {100 * seconds / row['seconds']:5.0f} %")


def _plot(by_nodes: dict, by_depth: dict, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(12, 3.5), layout="constrained")
    panels = ((by_nodes, "qubits", "seconds"), (by_nodes, "qubits", "MiB"), (by_depth, "layers", "seconds"))
    for axis, (data, x, y) in zip(axes, panels, strict=True):
        axis.plot(list(data), [max(r[y], 1e-6) for r in data.values()], "o-")
        axis.set(xlabel=x, ylabel=y, yscale="log")
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
