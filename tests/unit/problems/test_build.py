from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import problems
from problems.ansatz import build_ansatz
from problems.build import build_problem
from problems.pauli import QUBITS_MAX
from problems.spins import build_model
from shotwise.spec import IsingSpec, PauliSpec, ProblemSpec, QuboSpec, RqaoaAnsatz, load_spec

ROOT = Path(problems.__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))


@pytest.mark.parametrize(
    "spec",
    [
        QuboSpec(kind="qubo", terms=((0, 1, 1.0),)),
        IsingSpec(kind="ising", terms=((0, 1, 1.0),)),
        PauliSpec(kind="pauli", terms={"XZ": 1.0}),
    ],
)
def test_kinds(spec: ProblemSpec) -> None:
    problem = build_problem(spec)
    assert (problem.kind, problem.n_qubits) == (spec.kind, 2)


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 10


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_build(path: Path) -> None:
    spec = load_spec(path)
    if isinstance(spec.ansatz, RqaoaAnsatz):
        assert len(build_model(spec.problem).fields) > QUBITS_MAX
        return
    problem = build_problem(spec.problem)
    ansatz = build_ansatz(spec.ansatz, problem)
    assert spec.name == path.stem
    assert problem.reference is not None
    assert ansatz.initial_parameters(spec.seed).shape == (ansatz.circuit.n_parameters,)


def test_importing_problems_imports_nothing_heavy() -> None:
    heavy = {"pyscf", "scipy", "networkx", "jax", "pennylane", "prefect", "mlflow"}
    code = f"import sys, problems; print(sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_everything_exported_exists() -> None:
    assert all(hasattr(problems, name) for name in problems.__all__)
