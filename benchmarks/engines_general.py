"""The general engine against lightning's adjoint on hardware_efficient, and its compile time against depth.

python benchmarks/engines_general.py [--qubits 16] [--rounds 3] [--out build/bench]
"""

from __future__ import annotations

import argparse
import csv
import time
from pathlib import Path

import jax
import numpy as np

from backends import open_device
from backends.engines.general import GeneralEngine
from problems.ansatz import build_ansatz
from problems.build import build_problem
from shotwise.spec import validate

DEPTHS = (2, 8, 32, 128)


def line(qubits: int, layers: int):
    """Circuit and observable of a transverse-field Ising line."""
    terms = {"I" * q + "ZZ" + "I" * (qubits - q - 2): -1.0 for q in range(qubits - 1)}
    terms |= {"I" * q + "X" + "I" * (qubits - q - 1): -0.7 for q in range(qubits)}
    spec = validate(
        {
            "version": 1,
            "problem": {"kind": "pauli", "terms": terms},
            "ansatz": {"kind": "hardware_efficient", "layers": layers},
        }
    )
    problem = build_problem(spec.problem)
    return build_ansatz(spec.ansatz, problem).circuit, problem.hamiltonian


@jax.jit
def run(program, angles):
    return program.gradient(program.state(angles), angles)


def seconds(call) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--qubits", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("build/bench"))
    options = parser.parse_args()
    lightning, engine = open_device("lightning"), GeneralEngine()
    options.out.mkdir(parents=True, exist_ok=True)
    with (options.out / "engines_general.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("layers", "rotations", "first call s", "shotwise s", "lightning s", "ratio"))
        print(f"hardware_efficient, {options.qubits} qubits, energy + gradient, best of {options.rounds}")
        print("layers  rotations  first call s  shotwise s  lightning s  ratio")
        for layers in DEPTHS:
            circuit, observable = line(options.qubits, layers)
            angles = circuit.angles(np.random.default_rng(0).normal(size=(1, circuit.n_parameters)))
            program = engine.program(circuit, observable)
            padded = np.pad(angles[0], (0, program.rows - len(circuit)))

            def ours(program=program, padded=padded):
                return jax.block_until_ready(run(program, padded))

            def theirs(circuit=circuit, observable=observable, angles=angles):
                return lightning.expectation(circuit, observable, angles, gradient=True)

            first = seconds(ours)
            both = [(seconds(ours), seconds(theirs)) for _ in range(options.rounds)]
            best, other = (min(column) for column in zip(*both, strict=True))
            table.writerow((layers, len(circuit), first, best, other, other / best))
            print(
                f"{layers:6} {len(circuit):10} {first:13.2f} {best:11.3f} {other:12.3f} {other / best:6.2f}"
            )


if __name__ == "__main__":
    main()
