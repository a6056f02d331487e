"""The total spin of reference states."""

import numpy as np
import pytest

from problems import GroundSpace, build_problem
from problems.spin import spin_squared
from shotwise.spec import MoleculeSpec


def reference_of(geometry: str, spin: int, electrons: int, orbitals: int):
    space = {"electrons": electrons, "orbitals": orbitals}
    spec = {"kind": "molecule", "geometry": geometry, "spin": spin, "active_space": space}
    reference = build_problem(MoleculeSpec.model_validate(spec)).reference
    assert reference is not None
    return reference


def test_two_electrons_in_two_orbitals() -> None:
    one_over_root_2 = np.full((1, 2), 0.5**0.5)
    apart = np.array([0b0110, 0b1001])  # one alpha and one beta electron, in different orbitals
    assert spin_squared(GroundSpace(apart, one_over_root_2), 0) == pytest.approx(2.0)  # a triplet
    assert spin_squared(GroundSpace(apart, one_over_root_2 * [1, -1]), 0) == pytest.approx(0.0)
    assert spin_squared(GroundSpace(np.array([0b0011]), np.ones((1, 1))), 0) == 0.0
    assert spin_squared(GroundSpace(np.array([0b0101]), np.ones((1, 1))), 2) == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("geometry", "spin", "electrons", "orbitals", "method"),
    [
        ("H 0 0 0; H 0 0 0.7414", 0, 2, 2, "FCI"),
        ("O 0 0 0; O 0 0 1.2075", 0, 8, 6, "FCI, of S = 1"),  # the triplet has a component of S_z = 0
        ("O 0 0 0; O 0 0 1.2075", 2, 8, 6, "FCI"),
        ("O 0 0 0; H 0 0 0.97", 1, 5, 4, "FCI"),
    ],
)
def test_a_reference_of_another_spin_than_asked_says_so(
    geometry: str, spin: int, electrons: int, orbitals: int, method: str
) -> None:
    assert reference_of(geometry, spin, electrons, orbitals).method == method
