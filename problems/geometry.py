"""Where the nuclei are: a geometry text, parsed strictly and never evaluated."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import numpy as np

from shotwise.errors import CannotRunError, SpecError, display_text
from shotwise.words import quantity

BOHR_ANGSTROM = 0.52917721092
"""CODATA 2010, the value PySCF 2.14 converts with; published energies depend on it in the ninth digit."""

ATOMS_MAX = 100
COORDINATE_ANGSTROM_MAX = 1000.0
DISTANCE_ANGSTROM_MIN = 0.2
"""Far below any bond (H2 is 0.74): nearer nuclei are a slip, and make the overlap matrix singular."""

_FIELD = "problem.geometry"
_NUMBER = re.compile(r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]{1,3})?")

_PERIODS = """
H He
Li Be B C N O F Ne
Na Mg Al Si P S Cl Ar
K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr
Rb Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe
Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn
Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf Es Fm Md No Lr Rf Db Sg Bh Hs Mt Ds Rg Cn Nh Fl Mc Lv Ts Og
"""

ELEMENTS = tuple(_PERIODS.split())
"""Symbols by atomic number, from 1."""


@dataclass(frozen=True, eq=False)
class Geometry:
    """Nuclei at fixed positions.

    Attributes:
        symbols: element symbols, length atoms.
        coordinates_bohr: float64, shape (atoms, 3).
    """

    symbols: tuple[str, ...]
    coordinates_bohr: np.ndarray

    @property
    def nuclear_charge(self) -> int:
        """Sum of the atomic numbers."""
        return sum(ELEMENTS.index(symbol) + 1 for symbol in self.symbols)


def parse_geometry(text: str, units: Literal["angstrom", "bohr"] = "angstrom") -> Geometry:
    """Read ``symbol x y z`` an atom, atoms separated by ``;`` or line ends.

    Raises:
        SpecError: at ``problem.geometry``: no atoms, an unknown element, other than four columns,
            something that is no finite number within 1000 angstrom, or two nuclei closer than 0.2 angstrom.
        CannotRunError: more than 100 atoms.
    """
    atoms = [atom.split() for atom in re.split(r"[;\n]", text) if atom.strip()]
    if not atoms:
        raise SpecError(_FIELD, text, "no atoms", 'write "H 0 0 0; H 0 0 0.74"')
    if len(atoms) > ATOMS_MAX:
        raise CannotRunError(_FIELD, f"{len(atoms)} atoms", f"more than {ATOMS_MAX} atoms", "use fewer atoms")
    bohr_per_unit = 1.0 if units == "bohr" else 1.0 / BOHR_ANGSTROM
    parsed = [_atom(words, bohr_per_unit) for words in atoms]
    symbols = tuple(symbol for symbol, _ in parsed)
    coordinates = np.array([position for _, position in parsed], dtype=np.float64)
    _check_distances(symbols, coordinates)
    return Geometry(symbols, coordinates)


def _atom(words: list[str], bohr_per_unit: float) -> tuple[str, list[float]]:
    line = " ".join(words)
    if len(words) != 4:
        raise SpecError(
            _FIELD, line, f"{quantity(len(words), 'column')}, not 4", "write `symbol x y z` an atom"
        )
    symbol = words[0].capitalize() if words[0].isascii() else words[0]
    if symbol not in ELEMENTS:
        raise SpecError(
            _FIELD, line, f"unknown element {display_text(words[0])}", "write a symbol such as H or Li"
        )
    for word in words[1:]:
        if not _NUMBER.fullmatch(word):
            raise SpecError(
                _FIELD,
                line,
                f"{display_text(word)} is not a finite number",
                "write plain numbers such as 0.7414",
            )
    position = [float(word) * bohr_per_unit for word in words[1:]]
    if max(map(abs, position)) * BOHR_ANGSTROM > COORDINATE_ANGSTROM_MAX:
        raise SpecError(
            _FIELD,
            line,
            f"a coordinate beyond {COORDINATE_ANGSTROM_MAX:.0f} angstrom",
            "check the coordinates and `units`",
        )
    return symbol, position


def _check_distances(symbols: tuple[str, ...], coordinates_bohr: np.ndarray) -> None:
    first, second = np.triu_indices(len(symbols), k=1)
    distances = np.linalg.norm(coordinates_bohr[first] - coordinates_bohr[second], axis=1) * BOHR_ANGSTROM
    for i, j, distance in zip(first, second, distances, strict=True):
        if distance < DISTANCE_ANGSTROM_MIN * (1 - 1e-9):
            raise SpecError(
                _FIELD,
                f"atoms {i + 1} ({symbols[i]}) and {j + 1} ({symbols[j]}), {distance:.3g} angstrom apart",
                f"two nuclei closer than {DISTANCE_ANGSTROM_MIN} angstrom",
                "check the coordinates and `units`",
            )
