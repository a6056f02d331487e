"""What is to be minimised, as the user writes it.

A section may name a file; `inline` reads it, so that a journaled spec needs no file to be resumed.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import BeforeValidator, Field, Strict, model_validator

from shotwise.errors import SpecError, display_text
from shotwise.spec.files import read_inside
from shotwise.spec.model import Section
from shotwise.words import quantity

Listed = Strict(False)
"""Takes a list where a tuple is kept: YAML and JSON know only lists."""

Term = Annotated[tuple[int, int, float], Listed]


def _weigh(edge: object) -> object:
    """[u, v] means [u, v, 1]."""
    if not isinstance(edge, list):
        return edge
    return (*edge, 1.0) if len(edge) == 2 else tuple(edge)


Edge = Annotated[Term, BeforeValidator(_weigh)]
Nodes = Annotated[int, Field(ge=1, le=100_000)]


class ActiveSpace(Section):
    """Electrons and spatial orbitals that are treated exactly; the lower ones stay doubly occupied."""

    electrons: int = Field(ge=1)
    orbitals: int = Field(ge=1)


class MoleculeSpec(Section):
    """A molecule at a geometry, in a Gaussian basis, mapped to qubits by Jordan-Wigner."""

    kind: Literal["molecule"]
    geometry: str | None = Field(default=None, max_length=100_000)
    file: str | None = None
    units: Literal["angstrom", "bohr"] = "angstrom"
    basis: str = Field(default="sto-3g", max_length=64)
    charge: int = 0
    spin: int = Field(default=0, ge=0)
    active_space: ActiveSpace | None = None

    @model_validator(mode="after")
    def _one_source(self) -> MoleculeSpec:
        _exactly_one(geometry=self.geometry, file=self.file)
        return self

    def inline(self, folder: Path) -> MoleculeSpec:
        """Replace an XYZ file (count, comment, then one atom a line) by its geometry."""
        if self.file is None:
            return self
        lines = read_inside(folder, self.file, field="problem.file").splitlines()
        try:
            count = int(lines[0])
        except (IndexError, ValueError):
            raise SpecError(
                "problem.file",
                self.file,
                "not an XYZ file",
                "put the number of atoms on line 1",
            ) from None
        atoms = [line for line in lines[2:] if line.strip()]
        if len(atoms) != count:
            raise SpecError(
                "problem.file",
                self.file,
                f"{quantity(count, 'atom')} announced, {len(atoms)} found",
                "correct line 1",
            )
        return self.model_copy(update={"file": None, "geometry": "; ".join(atoms)})


class RandomRegular(Section):
    """A random regular graph; every edge weighs 1."""

    name: Literal["random_regular"]
    degree: int = Field(ge=1)
    nodes: int = Field(ge=2, le=100_000)
    seed: int = Field(default=0, ge=0)


class ErdosRenyi(Section):
    """A G(n, p) random graph; every edge weighs 1."""

    name: Literal["erdos_renyi"]
    probability: float = Field(gt=0, le=1)
    nodes: int = Field(ge=2, le=100_000)
    seed: int = Field(default=0, ge=0)


class MaxCutSpec(Section):
    """Cut the nodes of a weighted graph in two so that the edges between weigh most."""

    kind: Literal["maxcut"]
    nodes: Nodes | None = None
    edges: Annotated[tuple[Edge, ...], Listed] | None = Field(default=None, max_length=1_000_000)
    file: str | None = None
    generator: Annotated[RandomRegular | ErdosRenyi, Field(discriminator="name")] | None = None

    @model_validator(mode="after")
    def _one_source(self) -> MaxCutSpec:
        _exactly_one(edges=self.edges, file=self.file, generator=self.generator)
        return self

    def inline(self, folder: Path) -> MaxCutSpec:
        """Replace a graph file (n, then `u v [w]` a line) by its edges."""
        if self.file is None:
            return self
        nodes, rows = _read_coefficients(folder, self.file)
        return self.model_copy(update={"file": None, "nodes": nodes, "edges": tuple(rows)})


class _Quadratic(Section):
    nodes: Nodes | None = None
    terms: Annotated[tuple[Term, ...], Listed] | None = Field(default=None, max_length=1_000_000)
    file: str | None = None
    constant: float = 0.0

    @model_validator(mode="after")
    def _one_source(self) -> _Quadratic:
        _exactly_one(terms=self.terms, file=self.file)
        return self


class QuboSpec(_Quadratic):
    """Minimise sum of value * x_i * x_j over x in {0, 1}; i = j is a linear term."""

    kind: Literal["qubo"]

    def inline(self, folder: Path) -> QuboSpec:
        """Replace a coefficient file (n, then `i j value` a line) by its terms."""
        return _inline_terms(self, folder)


class IsingSpec(_Quadratic):
    """Minimise sum of value * s_i * s_j over s in {-1, +1}; i = j is the field value * s_i."""

    kind: Literal["ising"]

    def inline(self, folder: Path) -> IsingSpec:
        """Replace a coefficient file (n, then `i j value` a line) by its terms."""
        return _inline_terms(self, folder)


class PauliSpec(Section):
    """Minimise a sum of Pauli strings; character q of a string acts on qubit q."""

    kind: Literal["pauli"]
    terms: dict[str, float] | None = None
    file: str | None = None

    @model_validator(mode="after")
    def _one_source(self) -> PauliSpec:
        _exactly_one(terms=self.terms, file=self.file)
        return self

    def inline(self, folder: Path) -> PauliSpec:
        """Replace a JSON file {"XIZ": 0.5, ...} by its terms."""
        if self.file is None:
            return self
        text = read_inside(folder, self.file, field="problem.file")
        try:
            terms = json.loads(text, object_pairs_hook=_Pairs)
        except (ValueError, RecursionError):
            terms = None
        if not isinstance(terms, _Pairs):
            raise _no_terms(self.file)
        return self.model_copy(update={"file": None, "terms": _pauli_terms(self.file, terms)})


ProblemSpec = Annotated[
    MoleculeSpec | MaxCutSpec | QuboSpec | IsingSpec | PauliSpec, Field(discriminator="kind")
]

_Q = TypeVar("_Q", QuboSpec, IsingSpec)


def _exactly_one(**sources: object) -> None:
    given = [name for name, value in sources.items() if value is not None]
    if len(given) != 1:
        names = ", ".join(sources)
        raise ValueError(f"exactly one of {names} is needed, {' and '.join(given) or 'none'} given")


class _Pairs(list[tuple[str, object]]):
    """A JSON object as it was written, a repeated key included."""


def _pauli_terms(name: str, pairs: _Pairs) -> dict[str, float]:
    terms: dict[str, float] = {}
    for pauli, value in pairs:
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise _no_terms(name)
        if pauli in terms:
            raise SpecError("problem.file", name, f"{display_text(pauli)} appears twice", "keep one of them")
        terms[pauli] = _finite(value, f"problem.file {display_text(name)} {display_text(pauli)}")
    return terms


def _no_terms(name: str) -> SpecError:
    problem, remedy = "not a JSON object of Pauli strings to numbers", 'write {"ZZ": 0.5, "XI": 0.1}'
    return SpecError("problem.file", name, problem, remedy)


def _finite(value: str | float, field: str) -> float:
    """A number that a file holds, refused where it stands: the checks of the spec's own know no lines.

    Raises:
        ValueError: text that is no number.
        SpecError: not finite, or larger than a double can be.
    """
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise SpecError(field, value, "not a finite number", "give a finite number")
    return number


def _inline_terms(spec: _Q, folder: Path) -> _Q:
    if spec.file is None:
        return spec
    nodes, rows = _read_coefficients(folder, spec.file)
    return spec.model_copy(update={"file": None, "nodes": nodes, "terms": tuple(rows)})


def _read_coefficients(folder: Path, name: str) -> tuple[int, list[Term]]:
    """A node count, then lines `i j [value]`; `#` starts a comment. Nodes are checked by the problem."""
    lines = read_inside(folder, name, field="problem.file").splitlines()
    numbered = [(at, line.split("#")[0].split()) for at, line in enumerate(lines, 1)]
    rows = [(at, words) for at, words in numbered if words]
    try:
        (nodes,) = rows[0][1]
        count = int(nodes)
    except (IndexError, ValueError):
        raise SpecError(
            "problem.file", name, "no node count", "put the number of nodes alone on the first line"
        ) from None
    if not 1 <= count <= 100_000:
        raise SpecError("problem.file", name, f"node count {display_text(count)}", "use 1 to 100000 nodes")
    terms: list[Term] = []
    for at, words in rows[1:]:
        try:
            i, j, *rest = words
            (value,) = rest or ("1",)
            terms.append((int(i), int(j), _finite(value, f"problem.file {display_text(name)} line {at}")))
        except ValueError:
            raise SpecError(
                f"problem.file line {at}",
                " ".join(words),
                "not `i j [value]`",
                "write two nodes and a number",
            ) from None
    return count, terms
