from __future__ import annotations

import numpy as np

from problems.circuit import Circuit, Rotation, generator_sign


def test_rows_round_trip() -> None:
    rows = [Rotation(3, 4, 1, 0, 2.0, 0.1), Rotation(1, 1, None, 1), Rotation(0, 2, offset=0.5)]
    circuit = Circuit.build(3, rows, initial_state=5)
    assert circuit.rotations() == rows
    assert (len(circuit), circuit.n_parameters, circuit.initial_state) == (3, 2, 5)


def test_angles_are_affine() -> None:
    rows = [Rotation(1, 0, None, 1, 2.0, 0.5), Rotation(1, 0, offset=0.25), Rotation(1, 0, None, 0, -1.0)]
    angles = Circuit.build(1, rows).angles(np.array([[1.0, 10.0], [2.0, 20.0]]))
    np.testing.assert_allclose(angles, [[20.5, 0.25, -1.0], [40.5, 0.25, -2.0]])


def test_a_circuit_without_rotations() -> None:
    circuit = Circuit.build(2, [])
    assert circuit.angles(np.zeros((3, 0))).shape == (3, 0)


def test_generator_sign() -> None:
    circuit = Circuit.build(3, [Rotation(0b101, 0b010, source=0b001)])
    np.testing.assert_array_equal(generator_sign(circuit, 0, np.arange(8)), [0, 1, 0, -1, -1, 0, 1, 0])
