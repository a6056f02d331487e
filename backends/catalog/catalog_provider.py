"""What every provider that the catalog opens can be asked beyond `backends.provider.Provider`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from backends.calibration import Calibration
from backends.prices import Usage
from backends.provider import Provider
from backends.transpile.success import HardwareUse
from measurement.plan import ExecutionPlan


@dataclass(frozen=True)
class DeviceStatus:
    """A device's health.

    Attributes:
        online: it takes jobs.
        queue_length: jobs waiting, None where it is not told.
        message: the provider's own words.
    """

    online: bool
    queue_length: int | None = None
    message: str = ""


@runtime_checkable
class CatalogProvider(Provider, Protocol):
    """A provider that tells what dispatch scores devices by. Every question raises ProviderUnavailable."""

    def status(self) -> DeviceStatus:
        """Whether the device takes jobs just now."""
        ...

    def calibration(self, now_us: int) -> Calibration | None:
        """Error rates at a time, microseconds since the epoch; None where the device tells none."""
        ...

    def hardware_use(self, plan: ExecutionPlan) -> tuple[HardwareUse, float] | None:
        """What one circuit of the plan does to the hardware, and its predicted success in [0, 1].

        None where nothing is transpiled here: simulators without noise, and Braket, which compiles itself.

        Raises:
            CannotRunError: the device is too small for the circuit.
        """
        ...

    def usage(self, plan: ExecutionPlan, use: HardwareUse | None) -> Usage:
        """What one job of the plan uses at most, by which it is priced.

        Args:
            use: as `hardware_use` told.
        """
        ...

    def close(self) -> None:
        """Close idle connections; it opens them again when it is asked next."""
        ...
