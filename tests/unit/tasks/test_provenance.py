"""What a run records of the code that made it."""

import json
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

import pytest

from tasks import provenance


@pytest.fixture(autouse=True)
def _asked_anew() -> Iterator[None]:
    provenance.versions_json.cache_clear()
    yield
    provenance.versions_json.cache_clear()


@pytest.mark.parametrize("package", ["numpy", "scipy", "networkx", "qiskit-aer", "amazon-braket-sdk"])
def test_versions_of_what_a_result_depends_on_are_kept(package: str) -> None:
    assert json.loads(provenance.versions_json())[package] == version(package)


def test_what_is_not_installed_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def without_qiskit(package: str) -> str:
        if package.startswith("qiskit"):
            raise PackageNotFoundError(package)
        return version(package)

    monkeypatch.setattr(provenance, "version", without_qiskit)
    versions = json.loads(provenance.versions_json())
    assert not [package for package in versions if package.startswith("qiskit")]
    assert {"python", "machine", "git_commit", "shotwise"} <= set(versions)
