from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from problems.basis_set import load_basis
from shotwise.errors import SpecError


@pytest.mark.parametrize("name", ["sto-3g", "STO-3G", "sto3g", "6-31g", "6-31G(d,p)", "6-31+g*", "cc-pVDZ"])
def test_known_names(name: str) -> None:
    assert set(load_basis(name, ["H", "O", "H"])) == {"H", "O"}


@pytest.mark.parametrize(
    "name",
    [
        "",
        "sto-9g",
        "../basis.dat",
        "/etc/passwd",
        "sto-3g\0",
        "sto-3g@1s",
        "H S\n 1.0 1.0",
        "6-31g(zz)",
        "6-31g(",
        "631",
        "gth-dzvp",
        "unc-sto-3g",
    ],
)
def test_unknown_names(name: str) -> None:
    with pytest.raises(SpecError, match="unknown basis") as caught:
        load_basis(name, ["H"])
    assert caught.value.field == "problem.basis"


def test_an_element_without_functions() -> None:
    with pytest.raises(SpecError, match="no functions for 'Og'"):
        load_basis("sto-3g", ["H", "Og"])


def test_an_effective_core_potential_is_refused_where_the_element_has_one() -> None:
    with pytest.raises(SpecError, match="effective core potential for 'Fe'"):
        load_basis("lanl2dz", ["Fe"])
    assert load_basis("lanl2dz", ["H"])


def test_a_file_of_that_name_in_the_working_folder_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory() as folder:
        monkeypatch.chdir(folder)
        for name in ("sto3g", "sto3g-", "sto-3g"):
            Path(name).write_text("not a basis")
        planted = load_basis("sto-3g", ["H"])
        monkeypatch.undo()
    assert planted == load_basis("sto-3g", ["H"])
