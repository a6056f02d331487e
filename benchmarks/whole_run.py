"""A whole LiH VQE (12 qubits, UCCSD, 200 Adam iterations) against a bare PennyLane + Optax script.

    python benchmarks/whole_run.py [--pairs 2] [--csv FILE]

Both are processes of their own, started in turn: `shotwise run`, with Prefect, MLflow and the journal, once
on a fresh state folder ("cold": nothing runs, nothing is compiled) and then with a Prefect server up and
the folder in use ("warm"); and the script below it, which differentiates by lightning's adjoint
method through PennyLane's JAX interface and keeps no record. Wall clock from start to exit, and of the
iterations alone.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from shotwise.home import Home
from tasks.prefect_server import PrefectServer

SPEC = Path(__file__).parents[1] / "examples" / "lih_full.yaml"
ITERATIONS = 200

BARE = f"""
import time
import jax
import numpy as np
import optax
import pennylane as qml
jax.config.update("jax_enable_x64", True)
bohr = 0.529177210903
hamiltonian, qubits = qml.qchem.molecular_hamiltonian(
    qml.qchem.Molecule(["Li", "H"], np.array([[0, 0, 0], [0, 0, 1.5949 / bohr]])), method="dhf")
singles, doubles = qml.qchem.excitations(4, qubits)
state = qml.qchem.hf_state(4, qubits)
device = qml.device("lightning.qubit", wires=qubits)

@qml.qnode(device, interface="jax", diff_method="adjoint")
def energy(parameters):
    qml.BasisState(state, wires=range(qubits))
    for at, wires in enumerate(doubles):
        qml.DoubleExcitation(parameters[at], wires=wires)
    for at, wires in enumerate(singles):
        qml.SingleExcitation(parameters[len(doubles) + at], wires=wires)
    return qml.expval(hamiltonian)

optimizer = optax.adam(0.05)
parameters = jax.numpy.zeros(len(doubles) + len(singles))
moments = optimizer.init(parameters)
step = jax.value_and_grad(energy)
started = time.perf_counter()
for _ in range({ITERATIONS}):
    value, gradient = step(parameters)
    updates, moments = optimizer.update(gradient, moments)
    parameters = optax.apply_updates(parameters, updates)
print(float(value), time.perf_counter() - started)
"""


def bare() -> dict[str, float]:
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", BARE], capture_output=True, text=True, check=True)
    energy, loop_s = map(float, done.stdout.split()[-2:])
    return {"wall_s": time.perf_counter() - started, "loop_s": loop_s, "energy": energy}


def ours(home: Path) -> dict[str, float]:
    environment = {**os.environ, "SHOTWISE_HOME": str(home)}
    overrides = [f"optimizer.max_iterations={ITERATIONS}", "optimizer.tolerance=0"]
    arguments = [word for override in overrides for word in ("--set", override)]
    command = [sys.executable, "-m", "flows.cli", "run", str(SPEC), "--json", "--quiet", *arguments]
    started = time.perf_counter()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    wall_s = time.perf_counter() - started
    result = json.loads(done.stdout)
    assert result["iterations"] == ITERATIONS, result["reason"]
    with sqlite3.connect(home / "shotwise.db") as journal:
        ((active_us,),) = journal.execute(
            "SELECT active_us FROM runs WHERE run_id = ?", (result["run_id"],)
        ).fetchall()
    journal.close()
    return {"wall_s": wall_s, "loop_s": active_us / 1e6, "energy": result["energy"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=2)
    parser.add_argument("--csv", type=Path)
    arguments = parser.parse_args()
    rows: list[dict[str, object]] = []

    def enter(name: str, found: dict[str, float]) -> None:
        rows.append({"run": name, **found})
        print(f"{name:6} {found['wall_s']:8.1f} {found['loop_s']:8.2f} {found['energy']:15.8f}", flush=True)

    print("run      wall s   loop s       energy Ha")
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        enter("cold", ours(home))
        enter("bare", bare())
        server = PrefectServer.start(Home(home))
        try:
            server.wait()
            for _ in range(arguments.pairs):
                enter("warm", ours(home))
                enter("bare", bare())
        finally:
            server.stop()
    for column in ("wall_s", "loop_s"):
        best = {
            n: min(float(str(r[column])) for r in rows if r["run"] == n) for n in ("bare", "cold", "warm")
        }
        ratios = ", ".join(f"{name} {best['bare'] / best[name]:.1f}x" for name in ("cold", "warm"))
        print(f"bare / ours, {column.replace('_s', ' time')}: {ratios}")
    if arguments.csv:
        with arguments.csv.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
