"""A molecule read back from disk is the molecule that was cached, and a damaged file is none."""

from pathlib import Path

import numpy as np

from problems import molecule_cache
from problems.build import build_problem
from problems.electronic import ElectronicHamiltonian
from problems.sector_matrix import sector_matrix
from shotwise.spec import MoleculeSpec

H2 = MoleculeSpec(kind="molecule", geometry="H 0 0 0; H 0 0 0.7414")


def test_what_is_read_back_is_equal_to_the_bit(tmp_path: Path) -> None:
    made, read = build_problem(H2, tmp_path), build_problem(H2, tmp_path)
    assert isinstance(made.observable, ElectronicHamiltonian)
    assert isinstance(read.observable, ElectronicHamiltonian)
    assert read is not made
    assert read.observable.core_energy == made.observable.core_energy
    np.testing.assert_array_equal(read.observable.one_body, made.observable.one_body)
    np.testing.assert_array_equal(read.observable.two_body, made.observable.two_body)
    assert made.sector is not None
    matrix, again = sector_matrix(made.observable, made.sector), sector_matrix(read.observable, made.sector)
    assert read.observable.restricted is not None
    assert again is read.observable.restricted[1]
    np.testing.assert_array_equal(again.dense(), matrix.dense())
    np.testing.assert_array_equal(again.scipy().toarray(), matrix.dense())
    assert (read.sector, read.hartree_fock_energy) == (made.sector, made.hartree_fock_energy)
    assert read.reference is not None
    assert made.reference is not None
    assert read.reference.energy == made.reference.energy
    assert read.reference.ground is not None
    assert made.reference.ground is not None
    np.testing.assert_array_equal(read.reference.ground.support, made.reference.ground.support)
    np.testing.assert_array_equal(read.reference.ground.amplitudes, made.reference.ground.amplitudes)


def test_a_damaged_file_is_made_again(tmp_path: Path) -> None:
    build_problem(H2, tmp_path)
    path = molecule_cache.path_of(tmp_path, H2)
    whole = path.read_bytes()
    for damaged in (whole[:-1], whole[:10], b"", whole[:200] + bytes([whole[200] ^ 1]) + whole[201:]):
        path.write_bytes(damaged)
        assert molecule_cache.load(path) is None
        build_problem(H2, tmp_path)
        assert molecule_cache.load(path) is not None
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_every_field_of_the_spec_counts(tmp_path: Path) -> None:
    others = [H2, H2.model_copy(update={"basis": "6-31g"}), H2.model_copy(update={"charge": 1, "spin": 1})]
    assert len({molecule_cache.path_of(tmp_path, spec) for spec in others}) == len(others)
