"""From a cut, QUBO or Ising spec of any size to its model of spins."""

from __future__ import annotations

from problems.graphs import cut_terms
from problems.ising_model import SPINS_MAX, IsingModel
from problems.quadratic import quadratic_form
from shotwise.spec import IsingSpec, MaxCutSpec, QuboSpec


def build_model(spec: MaxCutSpec | QuboSpec | IsingSpec) -> IsingModel:
    """The spec's Hamiltonian as an `IsingModel`, up to `SPINS_MAX` spins.

    Raises:
        SpecError, CannotRunError: as `problems.build_problem`.
    """
    terms = cut_terms if isinstance(spec, MaxCutSpec) else quadratic_form
    return IsingModel.from_terms(*terms(spec, SPINS_MAX))  # pyright: ignore[reportArgumentType]
