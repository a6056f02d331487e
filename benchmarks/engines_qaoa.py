"""The diagonal engine against lightning's adjoint, qulacs' backpropagation and a plain numpy simulator.

python benchmarks/engines_qaoa.py [--nodes 20] [--layers 4] [--rounds 5] [--qokit FOLDER] [--out build/bench]

All contenders run in turn in this process, several rounds, and each keeps its best time, so that a busy
machine slows them alike. Two simulators compute the energy only: QOKit's Python one, which goes from basis
state to basis state and is run once (FOLDER is its unpacked wheel, which `make bench` fetches: its pinned
dependencies do not go together with ours, but this part needs numpy only), and one written here that
does the same in whole numpy arrays.
"""

from __future__ import annotations

import argparse
import csv
import importlib
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import networkx as nx
import numpy as np

from backends import open_device
from backends.engines.diagonal import DiagonalEngine
from problems.circuit import Circuit
from problems.pauli import PauliSum
from problems.qaoa import qaoa_circuit

COPY_BYTES = 1 << 28


def maxcut(nodes: int) -> PauliSum:
    """Minus the cut of a random 3-regular graph."""
    graph = nx.random_regular_graph(3, nodes, seed=1)
    edges = {(0, (1 << u) | (1 << v)): 0.5 for u, v in graph.edges}
    return PauliSum.from_terms(nodes, {(0, 0): -graph.number_of_edges() / 2, **edges})


def ours(cost: PauliSum, circuit: Circuit, angles: np.ndarray, precision: str, *, gradient: bool) -> Callable:
    program = DiagonalEngine(precision).program(circuit, cost)

    def run(program, angles):
        state = program.state(angles)
        return program.gradient(state, angles) if gradient else program.energy(state)

    compiled = jax.jit(run)
    return lambda: jax.block_until_ready(compiled(program, angles[0]))


def qulacs_backprop(cost: PauliSum, circuit: Circuit, angles: np.ndarray) -> Callable | None:
    """qulacs' own gradient by the same rows; None where it is not installed (extra `bench`)."""
    try:
        import qulacs  # pyright: ignore[reportMissingImports]
    except ImportError:
        return None
    n = circuit.n_qubits
    parametric = qulacs.ParametricQuantumCircuit(n)
    for qubit in range(n):
        parametric.add_H_gate(qubit)
    for row, angle in zip(circuit.rotations(), angles[0], strict=True):
        qubits = [q for q in range(n) if (row.x | row.z) >> q & 1]
        paulis = [1 if row.x >> q & 1 else 3 for q in qubits]
        parametric.add_parametric_multi_Pauli_rotation_gate(qubits, paulis, -float(angle))
    observable = qulacs.Observable(n)
    for string, coefficient in zip(cost.strings(), cost.coefficients, strict=True):
        paulis = " ".join(f"{letter} {q}" for q, letter in enumerate(string) if letter != "I")
        observable.add_operator(float(coefficient), paulis)

    def run():
        state = qulacs.QuantumState(n)
        parametric.update_quantum_state(state)
        return observable.get_expectation_value(state), parametric.backprop(observable)

    return run


def numpy_forward(cost: PauliSum, circuit: Circuit, angles: np.ndarray, layers: int) -> Callable:
    n, rows = cost.n_qubits, angles[0].reshape(layers, -1)
    diagonal = cost.diagonal()
    scale = rows[:, 0] / (2 * 0.5)  # all edges weigh 0.5, so a layer is one multiple of the diagonal

    def run():
        psi = np.full(1 << n, 2 ** (-n / 2), dtype=complex)
        for layer in range(layers):
            psi *= np.exp(-1j * scale[layer] * diagonal)
            cosine, sine = np.cos(rows[layer, -1] / 2), np.sin(rows[layer, -1] / 2)
            for qubit in range(n):
                pairs = psi.reshape(-1, 2, 1 << qubit)
                down, up = pairs[:, 0].copy(), pairs[:, 1].copy()
                pairs[:, 0] = cosine * down - 1j * sine * up
                pairs[:, 1] = cosine * up - 1j * sine * down
        return float(diagonal @ np.abs(psi) ** 2)

    return run


def qokit_forward(
    folder: Path, cost: PauliSum, circuit: Circuit, angles: np.ndarray, layers: int
) -> Callable | None:
    """QOKit's own `apply_qaoa_furx` from its unpacked wheel; None where there is none."""
    if not (folder / "qokit").is_dir():
        return None
    sys.path.insert(0, str(folder / "qokit" / "fur"))
    apply_qaoa_furx = importlib.import_module("python.qaoa_fur").apply_qaoa_furx
    diagonal, rows = cost.diagonal(), angles[0].reshape(layers, -1)

    def run():
        psi = np.full(len(diagonal), len(diagonal) ** -0.5, dtype=complex)
        # its layers are e^{-i gamma C / 2} and e^{-i beta X}; all our edges weigh 0.5
        apply_qaoa_furx(psi, 2 * rows[:, 0], rows[:, -1] / 2, diagonal, cost.n_qubits)
        return float(diagonal @ np.abs(psi) ** 2)

    return run


def traffic_bytes(nodes: int, layers: int) -> int:
    """The least that energy and gradient must move: every layer reads and writes each part of a state once.

    One state forward and two backward, real and imaginary parts, on half of the basis states.
    """
    return layers * (1 + 2) * 2 * 2 * 8 << (nodes - 1)


def copy() -> Callable:
    """Copies COPY_BYTES, read and write counted, between pages that are there already."""
    source, target = np.ones(COPY_BYTES // 16), np.ones(COPY_BYTES // 16)
    return lambda: np.copyto(target, source)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=20)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only-ours", action="store_true", help="skip the slow contenders")
    parser.add_argument("--qokit", type=Path, default=Path("build/bench/qokit"))
    parser.add_argument("--out", type=Path, default=Path("build/bench"))
    options = parser.parse_args()
    cost = maxcut(options.nodes)
    circuit = qaoa_circuit(cost, options.layers)
    angles = circuit.angles(np.random.default_rng(0).normal(size=(1, 2 * options.layers)))
    lightning = open_device("lightning")
    contenders: dict[str, Callable | None] = {
        "shotwise energy + gradient": ours(cost, circuit, angles, "double", gradient=True),
        "shotwise energy": ours(cost, circuit, angles, "double", gradient=False),
        "shotwise single energy + gradient": ours(cost, circuit, angles, "single", gradient=True),
        "lightning adjoint": lambda: lightning.expectation(circuit, cost, angles, gradient=True),
        "qulacs backprop": qulacs_backprop(cost, circuit, angles),
        "numpy forward": numpy_forward(cost, circuit, angles, options.layers),
        "copy": copy(),
    }
    kept = {
        k: v for k, v in contenders.items() if v and (not options.only_ours or k.startswith(("shot", "copy")))
    }
    best = race(kept, options.rounds)
    qokit = qokit_forward(options.qokit, cost, circuit, angles, options.layers)
    if qokit and not options.only_ours:
        best["qokit python forward"], energy = timed(qokit)
        assert abs(energy - float(kept["shotwise energy"]())) < 1e-9, "it simulates something else"
    moved = traffic_bytes(options.nodes, options.layers) / best["shotwise energy + gradient"]
    share = moved / (COPY_BYTES / best.pop("copy"))
    options.out.mkdir(parents=True, exist_ok=True)
    with (options.out / "engines_qaoa.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("contender", "seconds", "times shotwise"))
        print(f"QAOA, 3-regular, n = {options.nodes}, p = {options.layers}, best of {options.rounds}")
        for name, seconds in best.items():
            base = best["shotwise energy" if "forward" in name else "shotwise energy + gradient"]
            table.writerow((name, f"{seconds:.6f}", f"{seconds / base:.3f}"))
            print(f"  {name:36} {1e3 * seconds:10.1f} ms   {seconds / base:8.2f}x")
    print(f"  least memory traffic at {100 * share:.0f} % of the copy bandwidth of the same rounds")


def race(contenders: dict[str, Callable], rounds: int) -> dict[str, float]:
    """Best seconds of each, after one run to compile; all in turn in every round."""
    best = dict.fromkeys(contenders, float("inf"))
    for round_ in range(rounds + 1):
        for name, run in contenders.items():
            seconds, _ = timed(run)
            if round_:
                best[name] = min(best[name], seconds)
    return best


def timed(run: Callable) -> tuple[float, Any]:
    """Seconds of a call, and what it gave."""
    started = time.perf_counter()
    found = run()
    return time.perf_counter() - started, found


if __name__ == "__main__":
    main()
