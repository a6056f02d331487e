"""What the sandbox's devices are, as data."""

from __future__ import annotations

import tomllib
from decimal import Decimal
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from backends.prices import Price
from backends.sandbox.messages import QueueModel
from shotwise.complaints import complaint
from shotwise.errors import CannotRunError

DEFAULT_DEVICES = Path(__file__).with_name("devices.toml")


class NoiseModel(BaseModel):
    """Average error rates of a device, and how they drift.

    Attributes:
        drift: amplitude of the logarithm of every error over time; 0 holds them constant.
        drift_period_s: one full swing.
        calibrated_every_s: snapshots are taken at multiples of this since the epoch, UTC.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    readout_error: float = Field(default=0.0, ge=0, le=0.3)
    one_qubit_error: float = Field(default=0.0, ge=0, le=0.3)
    two_qubit_error: float = Field(default=0.0, ge=0, le=0.3)
    drift: float = Field(default=0.0, ge=0, le=2)
    drift_period_s: float = Field(default=86400.0, gt=0)
    calibrated_every_s: float = Field(default=3600.0, ge=1)

    @property
    def is_ideal(self) -> bool:
        return self.readout_error == self.one_qubit_error == self.two_qubit_error == 0


class SandboxDevice(BaseModel):
    """One device of the sandbox.

    Attributes:
        shots_max: of one circuit.
        circuits_max: of one job.
        honours_tokens: a second submission with the same token returns the first job.
        reports_cost: a job's answer says what it cost; otherwise only the bill does.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")
    n_qubits: int = Field(ge=1, le=24)
    shots_max: int = Field(ge=1, le=10_000_000)
    circuits_max: int = Field(ge=1, le=10_000)
    honours_tokens: bool = True
    reports_cost: bool = True
    price: Price = Price()
    queue: QueueModel = QueueModel()
    noise: NoiseModel = NoiseModel()

    def with_waits_scaled(self, scale: Decimal) -> SandboxDevice:
        """The same device, its queue `scale` times as slow; what it bills by the second stays."""
        return self.model_copy(update={"queue": self.queue.model_copy(update={"wait_scale": scale})})


class _DeviceFile(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    device: tuple[SandboxDevice, ...] = Field(min_length=1, max_length=200)


def load_devices(path: Path = DEFAULT_DEVICES) -> dict[str, SandboxDevice]:
    """The devices of a TOML file, by name.

    Raises:
        CannotRunError: the file cannot be read or says something that cannot be meant.
    """
    try:
        devices = _DeviceFile.model_validate(tomllib.loads(path.read_text(encoding="utf-8"))).device
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise CannotRunError("devices", path, str(error), "give a readable TOML file") from None
    except ValidationError as error:
        field, value, problem, remedy = complaint(error, _DeviceFile, f"correct it in {path}")
        raise CannotRunError(f"{path.name}: {field or 'file'}", value, problem, remedy) from None
    by_name = {device.name: device for device in devices}
    if len(by_name) < len(devices):
        raise CannotRunError("device.name", path, "two devices share a name", "give each its own")
    return by_name
