"""Opens Braket's local simulator."""

from __future__ import annotations

from backends.braket.local_device import BraketLocalDevice
from backends.catalog.adapters import AdapterContext
from backends.catalog.description import DeviceDescription
from backends.catalog.local_provider import LocalProvider


def open_provider(description: DeviceDescription, context: AdapterContext) -> LocalProvider:
    """`braket_sv` as a provider."""
    device = BraketLocalDevice(description.name)
    return LocalProvider(description, device, folder=context.jobs_folder)
