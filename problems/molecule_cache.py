"""The molecule cache on disk: integrals, matrix and ground state under the hash of what they were made from.

A file is a SHA-256 digest and an npz archive without pickled objects; one whose digest does not fit is as
good as none, and is made again.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tempfile
from importlib.metadata import version
from pathlib import Path

import numpy as np

from problems.electronic import ElectronicHamiltonian
from problems.problem import GroundSpace, Problem, Reference
from problems.sector import Sector
from problems.sector_matrix import sector_matrix
from problems.sparse_rows import SparseRows
from shotwise.spec import MoleculeSpec

FORMAT = 3
_DIGEST_BYTES = 32
_MADE_BY = ("numpy", "pyscf", "scipy")
_ELEMENTS_MAX = 2_000_000
"""Of larger ones a file would be little but its matrix, 24 MB: that is made anew."""


def path_of(folder: Path, spec: MoleculeSpec) -> Path:
    """Where a molecule is cached: its spec, the libraries that computed it and this format in one hash."""
    made_by = {name: version(name) for name in _MADE_BY}
    content = json.dumps([FORMAT, made_by, spec.model_dump(mode="json")], sort_keys=True)
    return folder / f"{hashlib.sha256(content.encode()).hexdigest()}.molecule"


def load(path: Path) -> Problem | None:
    """The problem that was cached there; None where there is none, or a damaged one."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    digest, archive = data[:_DIGEST_BYTES], data[_DIGEST_BYTES:]
    if hashlib.sha256(archive).digest() != digest:
        return None
    with np.load(io.BytesIO(archive), allow_pickle=False) as arrays:
        return _problem(dict(arrays))


def save(path: Path, problem: Problem) -> None:
    """Keep a molecule; other processes see all of it or nothing."""
    archive = io.BytesIO()
    np.savez(archive, allow_pickle=False, **_arrays(problem))
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as part:
        part.write(hashlib.sha256(archive.getvalue()).digest() + archive.getvalue())
    os.replace(part.name, path)


def _arrays(problem: Problem) -> dict[str, np.ndarray]:
    hamiltonian, sector, reference = problem.observable, problem.sector, problem.reference
    assert isinstance(hamiltonian, ElectronicHamiltonian), "only molecules are cached"
    assert sector is not None
    arrays = {
        "energies": np.array([hamiltonian.core_energy, problem.hartree_fock_energy]),
        "one_body": hamiltonian.one_body,
        "two_body": hamiltonian.two_body,
        "sector": np.array([sector.orbitals, sector.electrons_alpha, sector.electrons_beta]),
    }
    if sector.dimension * min(sector.couplings, sector.dimension) <= _ELEMENTS_MAX:
        matrix = sector_matrix(hamiltonian, sector)
        arrays |= {"starts": matrix.starts, "columns": matrix.columns, "values": matrix.values}
    if reference is not None:
        arrays["reference"] = np.array(reference.energy)
        if reference.ground is not None and reference.ground.amplitudes is not None:
            arrays |= {"support": reference.ground.support, "amplitudes": reference.ground.amplitudes}
    return arrays


def _problem(arrays: dict[str, np.ndarray]) -> Problem:
    core_energy, hartree_fock_energy = arrays["energies"].tolist()
    sector = Sector(*arrays["sector"].tolist())
    restricted = None
    if "values" in arrays:
        restricted = sector, SparseRows(arrays["starts"], arrays["columns"], arrays["values"])
    reference = None
    if "reference" in arrays:
        ground = GroundSpace(arrays["support"], arrays["amplitudes"]) if "support" in arrays else None
        reference = Reference(float(arrays["reference"]), "FCI", exact=True, ground=ground)
    return Problem(
        kind="molecule",
        observable=ElectronicHamiltonian(core_energy, arrays["one_body"], arrays["two_body"], restricted),
        unit="Ha",
        reference=reference,
        sector=sector,
        hartree_fock_energy=hartree_fock_energy,
    )
