"""A device's true errors at a moment, and the calibration snapshot it publishes of an earlier one."""

from __future__ import annotations

import hashlib
import math

from backends.calibration import Calibration
from backends.sandbox.devices import NoiseModel, SandboxDevice

_SPREAD = 0.2
"""Qubits differ from their device's average by up to this share."""
_ERROR_MAX = 0.5


def errors_at(device: SandboxDevice, at_us: int) -> Calibration:
    """The errors that a job meets at `at_us`: a function of device and time alone.

    Each error swings around its mean as exp(drift * sin(2 pi t / period + phase)); qubits couple in a line.
    """
    noise = device.noise

    def error(mean: float, subject: str) -> float:
        spread, phase = _two_uniforms(f"{device.name}/{subject}")
        swing = noise.drift * math.sin(2 * math.pi * (at_us / 1e6 / noise.drift_period_s + phase))
        return min(_ERROR_MAX, mean * (1 + _SPREAD * (2 * spread - 1)) * math.exp(swing))

    qubits = range(device.n_qubits)
    return Calibration(
        taken_us=at_us,
        readout_error=tuple(error(noise.readout_error, f"readout/{q}") for q in qubits),
        one_qubit_error=tuple(error(noise.one_qubit_error, f"one/{q}") for q in qubits),
        two_qubit_error=tuple(
            ((q, q + 1), error(noise.two_qubit_error, f"two/{q}")) for q in range(device.n_qubits - 1)
        ),
    )


def snapshot_at(device: SandboxDevice, now_us: int) -> Calibration:
    """The calibration that the device shows at `now_us`: its errors when it was last measured."""
    return errors_at(device, _last_calibrated_us(device.noise, now_us))


def _last_calibrated_us(noise: NoiseModel, now_us: int) -> int:
    return now_us - now_us % int(noise.calibrated_every_s * 1e6)


def _two_uniforms(subject: str) -> tuple[float, float]:
    digest = hashlib.sha256(subject.encode()).digest()
    return int.from_bytes(digest[:8]) / 2**64, int.from_bytes(digest[8:16]) / 2**64
