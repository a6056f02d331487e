"""Opens simulated devices of the catalog."""

from __future__ import annotations

from backends.aer.noisy_device import NoisyDevice
from backends.catalog.adapters import AdapterContext
from backends.catalog.description import DeviceDescription
from backends.catalog.local_provider import LocalProvider


def open_provider(description: DeviceDescription, context: AdapterContext) -> LocalProvider:
    """A snapshot's device, at the price and with the queue that the catalog gives it."""
    device = NoisyDevice(
        description.name, description.vendor_name, drop_dead_couplings=description.drop_dead_couplings
    )
    return LocalProvider(
        description,
        device,
        calibrate=lambda now_us: device.calibration(now_us, description.calibration_age_s),
        hardware_use=device.hardware_use,
        folder=context.jobs_folder,
    )
