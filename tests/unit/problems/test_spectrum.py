from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from problems.circuit import Circuit, Rotation
from problems.excitations import excitation
from problems.pauli import PauliSum
from problems.spectrum import spectrum
from shotwise.errors import SpecError

Energy = Callable[[PauliSum, Circuit, np.ndarray], float]


def of(*scales: float) -> tuple[float, int]:
    rows = [Rotation(1 << q, 0, parameter=0, scale=scale) for q, scale in enumerate(scales)]
    return spectrum(Circuit.build(len(scales), rows))[0]


@pytest.mark.parametrize(
    ("scales", "expected"),
    [
        ((1.0,), (1.0, 1)),
        ((-2.0,), (2.0, 1)),
        ((2.0, 2.0, 2.0), (2.0, 3)),
        ((1.0, 2.0), (1.0, 3)),
        ((0.5, 0.75), (0.25, 5)),
        ((1 / 3, 1.0), (1 / 3, 4)),
        ((0.1, 0.3, 0.0), (0.1, 4)),
        ((0.0,), (1.0, 0)),
    ],
)
def test_base_and_degree(scales: tuple[float, ...], expected: tuple[float, int]) -> None:
    base, degree = of(*scales)
    assert (pytest.approx(base), degree) == expected


def test_an_excitation_has_half_frequencies() -> None:
    row = excitation((0,), (2,))
    assert spectrum(Circuit.build(4, [row._replace(parameter=0)])) == ((0.5, 2),)
    both = [row._replace(parameter=0, scale=2.0), Rotation(1, 0, parameter=0)]
    assert spectrum(Circuit.build(4, both)) == ((1.0, 3),)


@pytest.mark.parametrize("scales", [(1.0, 2**0.5), (1.0, 1.0 + 1e-7), (1.0, 1000.0)])
def test_incommensurate_scales_are_refused(scales: tuple[float, ...]) -> None:
    with pytest.raises(SpecError, match="no common frequency") as caught:
        of(*scales)
    assert caught.value.field == "optimizer.name"


def test_energies_are_such_polynomials(energy: Energy) -> None:
    hamiltonian = PauliSum.from_strings({"ZZII": 1.0, "XIXI": 0.7, "IYYZ": -0.4, "ZIIX": 0.3})
    rows = [
        Rotation(0b0001, 0, parameter=0, scale=2.0),
        excitation((0,), (2,))._replace(parameter=1),
        Rotation(0b0110, 0b0010, parameter=0, scale=-1.0),
        Rotation(0b1010, 0b0011, parameter=2, scale=0.5),
        excitation((0, 1), (2, 3))._replace(parameter=2),
    ]
    circuit = Circuit.build(4, rows, initial_state=0b0011)
    rng = np.random.default_rng(0)
    for parameter, (base, degree) in enumerate(spectrum(circuit)):
        point = rng.uniform(-3, 3, 3)
        t = rng.uniform(-10, 10, 40)
        values = []
        for value in t:
            point[parameter] = value
            values.append(energy(hamiltonian, circuit, point))
        k = np.arange(degree + 1)
        features = np.hstack([np.cos(base * np.outer(t, k)), np.sin(base * np.outer(t, k[1:]))])
        fitted = features @ np.linalg.lstsq(features, np.array(values), rcond=None)[0]
        np.testing.assert_allclose(fitted, values, atol=1e-9)
