"""One interval for what is shown, drawn and ranked by."""

import subprocess
import sys

import numpy as np
import pytest

from shotwise.units import unit_of
from tasks.interval import half_width, upper_end


def test_a_half_width_is_of_one_error_or_of_many() -> None:
    assert half_width(0.01) == 1.96 * 0.01
    np.testing.assert_array_equal(half_width(np.array([0.0, 0.5])), [0.0, 0.98])


def test_of_equal_energies_the_one_known_best_ends_lowest() -> None:
    assert upper_end(-1.0, 0.0) == -1.0
    assert upper_end(-1.0, 0.001) < upper_end(-1.01, 0.1)


@pytest.mark.parametrize(("kind", "unit"), [("molecule", "Ha"), ("maxcut", ""), ("pauli", "")])
def test_only_a_molecule_has_a_unit(kind: str, unit: str) -> None:
    assert unit_of(kind) == unit


def test_mlflow_process_loads_no_numbers_for_it() -> None:
    heavy = "any(name in sys.modules for name in ('numpy', 'pydantic'))"
    code = f"import sys, tasks.interval, shotwise.units; sys.exit({heavy})"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
