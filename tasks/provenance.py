"""Which code made a run: versions of what computes, and the git commit it was run from."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
from contextlib import suppress
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ledger import NewRun
from shotwise.errors import SpecError
from shotwise.spec import RunSpec, check_effects

_PACKAGES = (
    "shotwise",
    "amazon-braket-default-simulator",
    "amazon-braket-sdk",
    "jax",
    "jaxlib",
    "networkx",
    "numpy",
    "optax",
    "pennylane",
    "pennylane-lightning",
    "prefect",
    "pyscf",
    "qiskit",
    "qiskit-aer",
    "qiskit-ibm-runtime",
    "scipy",
)
"""What results depend on; simulators and vendors' clients too, for they draw what a run samples."""

PARENT_VARIABLE = "SHOTWISE_PARENT"
_PARENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def new_run(spec: RunSpec) -> NewRun:
    """A run of a spec by the code that is installed here.

    Raises:
        SpecError: the spec says what nothing would heed.
    """
    check_effects(spec)
    return NewRun(spec.name, spec.problem.kind, spec.canonical_json(), spec.problem_sha256(), versions_json())


def parent_from_environment() -> str | None:
    """The scan that a new run is part of, by name: what drives many runs sets SHOTWISE_PARENT for each.

    Raises:
        SpecError: not a name.
    """
    parent = os.environ.get(PARENT_VARIABLE)
    if parent and not _PARENT.fullmatch(parent):
        remedy = "use up to 100 letters, digits, `.`, `_`, `-`"
        raise SpecError(PARENT_VARIABLE, parent, "not a name", remedy)
    return parent or None


@lru_cache(maxsize=1)
def versions_json() -> str:
    """JSON of installed packages' versions and the git commit ("unknown" outside a checkout)."""
    found = {"python": platform.python_version(), "machine": platform.machine(), "git_commit": _git_commit()}
    for package in _PACKAGES:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return json.dumps(found, sort_keys=True)


def _git_commit() -> str:
    """The commit of the checkout that this code is in, "+dirty" where tracked files were changed."""
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--abbrev=40", "--dirty=+dirty", "--exclude=*"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return described.stdout.strip()
