"""Circuits whose answer is known, on an exact engine and with errors put in."""

import numpy as np
import pytest

from backends.jax_device import JaxDevice
from measurement import Outcome
from measurement.canaries import mirror_canary, mirror_error, readout_canary, readout_errors


@pytest.mark.parametrize("n_qubits", [1, 2, 4])
def test_without_errors_every_shot_is_the_target(n_qubits: int) -> None:
    readout = readout_canary(n_qubits, 50, (7, 0))
    mirror = mirror_canary(n_qubits, 4, 6, 50, (7, n_qubits))
    assert readout_errors(readout, JaxDevice().sample(readout.plan)).tolist() == [0.0] * n_qubits
    assert mirror_error(mirror, JaxDevice().sample(mirror.plan)) == 0.0
    assert len(np.unique(mirror.target)) > 1, "all targets alike would hide a device that answers a constant"


def test_errors_are_counted_where_they_are() -> None:
    canary = readout_canary(2, 100, (7, 0))
    outcome = Outcome.from_rows(
        [(np.array([0b00, 0b10]), np.array([90, 10])), (np.array([0b11, 0b01]), np.array([70, 30]))]
    )
    assert readout_errors(canary, outcome).tolist() == [0.0, 0.2]
    mirror = mirror_canary(2, 2, 1, 100, (7, 1))
    target = int(mirror.target[0])
    outcome = Outcome.from_rows([(np.array([target, target ^ 1]), np.array([75, 25]))])
    assert mirror_error(mirror, outcome) == 0.25
