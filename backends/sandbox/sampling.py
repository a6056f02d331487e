"""What a sandbox device measures: the exact distribution, depolarised, read out with errors.

Deterministic: the plan's seed and the device's errors decide every count.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from backends.calibration import Calibration
from backends.sandbox.devices import SandboxDevice
from backends.sandbox.drift import errors_at
from backends.sandbox.usage import gate_counts
from measurement.plan import ExecutionPlan, Outcome
from problems.circuit import Circuit

_NOISE_STREAM = 0x6E6F6973
"""Appended to a row's seed path, so that noise and sampling draw from different streams."""


def measure(device: SandboxDevice, plan: ExecutionPlan, shots_done: int, at_us: int) -> Outcome:
    """Run the first `shots_done` shots of a plan, rows in order, under the device's errors at `at_us`."""
    from backends.jax_device import JaxDevice  # a second of import that answering requests need not wait for

    cut = replace(plan, shots=shots_run(plan.shots, shots_done))
    outcome = JaxDevice().sample(cut)
    return outcome if device.noise.is_ideal else _noisy(cut, outcome, errors_at(device, at_us))


def shots_run(shots: np.ndarray, shots_done: int) -> np.ndarray:
    """How many of each row's shots are run once `shots_done` in all are, rows in order."""
    before = np.cumsum(shots) - shots
    return np.clip(shots_done - before, 0, shots)


def survival(circuit: Circuit, errors: Calibration) -> float:
    """Probability that no gate of the circuit depolarised its state, at average and independent errors."""
    one, two = gate_counts(circuit)
    pairs = [error for _, error in errors.two_qubit_error] or [0.0]
    kept_one, kept_two = 1 - np.mean(errors.one_qubit_error), 1 - np.mean(pairs)
    return float(kept_one**one * kept_two**two)


def _noisy(plan: ExecutionPlan, outcome: Outcome, errors: Calibration) -> Outcome:
    kept = survival(plan.circuit, errors)
    rows = []
    for row in range(len(plan)):
        rng = _noise_generator(plan, row)
        states = np.repeat(*outcome.row(row))
        lost = rng.random(len(states)) >= kept
        states[lost] = rng.integers(0, 1 << plan.circuit.n_qubits, int(lost.sum()))
        for qubit in range(plan.circuit.n_qubits):
            flipped = rng.random(len(states)) < errors.readout_error[qubit]
            states ^= flipped.astype(np.int64) << qubit
        rows.append(np.unique(states, return_counts=True))
    return Outcome.from_rows(rows)


def _noise_generator(plan: ExecutionPlan, row: int) -> np.random.Generator:
    entropy, *path = plan.seed
    sequence = np.random.SeedSequence(entropy, spawn_key=(*path, row, _NOISE_STREAM))
    return np.random.Generator(np.random.PCG64(sequence))
