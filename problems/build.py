"""From the problem section of a spec to the problem itself."""

from __future__ import annotations

from pathlib import Path

from problems import molecule_cache
from problems.graphs import maxcut_problem
from problems.molecule import molecular_problem
from problems.pauli_file import pauli_problem
from problems.problem import Problem
from problems.quadratic import ising_problem, qubo_problem
from shotwise.spec import IsingSpec, MaxCutSpec, MoleculeSpec, PauliSpec, ProblemSpec, QuboSpec


def build_problem(spec: ProblemSpec, cache_folder: Path | None = None) -> Problem:
    """Build any problem, its reference included; equal specs give equal problems.

    Args:
        spec: with its files read into it, as `shotwise.spec.load_spec` returns it.
        cache_folder: folder in which molecules are cached from one process to the next.

    Raises:
        SpecError: the spec says something that cannot be meant.
        CannotRunError: it is too large, or Hartree-Fock does not converge.
    """
    match spec:
        case MoleculeSpec():
            return molecular_problem(spec) if cache_folder is None else _cached_molecule(spec, cache_folder)
        case MaxCutSpec():
            return maxcut_problem(spec)
        case QuboSpec():
            return qubo_problem(spec)
        case IsingSpec():
            return ising_problem(spec)
        case PauliSpec():
            return pauli_problem(spec)


def _cached_molecule(spec: MoleculeSpec, folder: Path) -> Problem:
    path = molecule_cache.path_of(folder, spec)
    problem = molecule_cache.load(path)
    if problem is None:
        problem = molecular_problem(spec)
        molecule_cache.save(path, problem)
    return problem
