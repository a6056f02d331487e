from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from problems.geometry import BOHR_ANGSTROM, ELEMENTS, parse_geometry
from shotwise.errors import CannotRunError, ShotwiseError, SpecError


def test_reads_atoms_separated_by_semicolons_or_lines() -> None:
    for text in ("Li 0 0 0; H 0 0 1.5", "li 0 0 0\n H  0 0\t1.5 \n\n", ";LI 0 0 0;;h .0 -0. +1.5e0;"):
        geometry = parse_geometry(text)
        assert geometry.symbols == ("Li", "H")
        np.testing.assert_allclose(geometry.coordinates_bohr, [[0, 0, 0], [0, 0, 1.5 / BOHR_ANGSTROM]])
        assert geometry.nuclear_charge == 4


def test_bohr_is_taken_as_it_is() -> None:
    assert parse_geometry("H 0 0 0; H 0 0 1.463", "bohr").coordinates_bohr[1, 2] == 1.463


def test_elements_and_conversion_agree_with_pyscf() -> None:
    from pyscf.data import elements, nist

    assert list(ELEMENTS) == elements.ELEMENTS[1:]
    assert nist.BOHR == BOHR_ANGSTROM


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "no atoms"),
        (" ;\n; ", "no atoms"),
        ("Xx 0 0 0", "unknown element"),
        ("X 0 0 0", "unknown element"),
        ("ghost-H 0 0 0", "unknown element"),
        ("H1 0 0 0", "unknown element"),
        ("ſ 0 0 0", "unknown element"),
        ("1 0 0 0", "unknown element"),
        ("H 0 0", "3 columns"),
        ("H 0 0 0 0", "5 columns"),
        ("H 0 0 0.74, H 0 0 0", "8 columns"),
        ("H 0 0 zero", "not a finite number"),
        ("H 0 0 nan", "not a finite number"),
        ("H 0 0 inf", "not a finite number"),
        ("H 0 0 1_0", "not a finite number"),
        ("H 0 0 ٣", "not a finite number"),
        ("H 0 0 __import__('os').system('true')", "not a finite number"),
        ("H 0 0 1e999", "beyond"),
        ("H 0 0 1e9999", "not a finite number"),
        ("H 0 0 1001", "beyond"),
        ("H 0 0 0\0", "not a finite number"),
        ("H 0 0 0; H 0 0 0", "closer"),
        ("H 0 0 0; H 0 0 5; Li 0 0 5.1", "closer"),
    ],
)
def test_rejects(text: str, complaint: str) -> None:
    with pytest.raises(SpecError, match=complaint) as caught:
        parse_geometry(text)
    assert caught.value.field == "problem.geometry"
    assert "\n" not in str(caught.value)


def test_too_many_atoms() -> None:
    with pytest.raises(CannotRunError, match="more than 100 atoms"):
        parse_geometry("\n".join(f"H 0 0 {i}" for i in range(101)))


@given(st.text(max_size=60))
def test_any_text_parses_or_is_a_spec_error(text: str) -> None:
    try:
        geometry = parse_geometry(text)
    except ShotwiseError:
        return
    assert np.isfinite(geometry.coordinates_bohr).all()
