"""A molecule with one bond at a given length."""

from __future__ import annotations

import numpy as np

from problems.geometry import BOHR_ANGSTROM, parse_geometry
from shotwise.errors import SpecError
from shotwise.spec import MoleculeSpec


def with_bond_length(spec: MoleculeSpec, bond: tuple[int, int], length: float) -> MoleculeSpec:
    """The molecule with its second atom moved along the line from the first to `length` (the spec's unit).

    Raises:
        SpecError: at ``scan.bond``: no such atom; at ``problem.geometry``: it cannot be read.
    """
    if spec.geometry is None:
        raise ValueError("inline the spec first: its geometry is still in a file")
    geometry = parse_geometry(spec.geometry, spec.units)
    if max(bond) >= len(geometry.symbols):
        remedy = f"count atoms from 0 to {len(geometry.symbols) - 1}"
        raise SpecError("scan.bond", list(bond), "no such atom", remedy)
    unit = 1.0 if spec.units == "bohr" else BOHR_ANGSTROM
    positions = geometry.coordinates_bohr * unit
    fixed, moved = bond
    axis = positions[moved] - positions[fixed]
    positions[moved] = positions[fixed] + axis * (length / np.linalg.norm(axis))
    atoms = [
        " ".join([symbol, *(f"{coordinate:.10g}" for coordinate in position)])
        for symbol, position in zip(geometry.symbols, positions, strict=True)
    ]
    return spec.model_copy(update={"geometry": "; ".join(atoms)})
