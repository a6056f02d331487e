"""The simulators without noise that the base install brings, as providers."""

from __future__ import annotations

from backends.catalog.adapters import AdapterContext
from backends.catalog.description import DeviceDescription
from backends.catalog.local_provider import LocalProvider
from backends.devices import open_device


def open_provider(description: DeviceDescription, context: AdapterContext) -> LocalProvider:
    """`backends.devices` by the description's provider key."""
    return LocalProvider(description, open_device(description.provider), folder=context.jobs_folder)
