"""Which code opens which provider, by the `provider` key of a description. Vendor SDKs load only then."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import MappingProxyType

from backends.calibration import Calibration
from backends.catalog.catalog_provider import CatalogProvider
from backends.catalog.description import DeviceDescription
from shotwise.errors import CannotRunError

CREDENTIAL_REMEDY = (
    "set that variable, or save a Prefect Secret block of that name in lowercase with dashes, "
    "or choose another device"
)


@dataclass(frozen=True)
class AdapterContext:
    """What an adapter may ask of its caller.

    Attributes:
        secret: a credential by name, None where there is none; default: the environment. Never shown.
        jobs_folder: where local providers remember jobs across processes; None keeps them in memory.
    """

    secret: Callable[[str], str | None] = field(default=os.environ.get, repr=False)
    jobs_folder: Path | None = None


@dataclass(frozen=True)
class Adapter:
    """Where an adapter is.

    Attributes:
        module: its `open_provider(description, context)` opens a device.
        extra: what installs its SDK, as in ``install shotwise[ibm]``; empty where nothing is needed.
    """

    module: str
    extra: str = ""


ADAPTERS = MappingProxyType(
    {
        "jax": Adapter("backends.catalog.exact_simulators"),
        "lightning": Adapter("backends.catalog.exact_simulators"),
        "ibm-snapshot": Adapter("backends.aer.adapter", extra="ibm"),
        "braket-local": Adapter("backends.braket.local_adapter", extra="braket"),
        "ibm-cloud": Adapter("backends.ibm.adapter", extra="ibm"),
        "braket-cloud": Adapter("backends.braket.cloud_adapter", extra="braket"),
    }
)
"""Adapters by provider key."""


def open_provider(description: DeviceDescription, context: AdapterContext | None = None) -> CatalogProvider:
    """The device of a description, ready for jobs.

    Raises:
        CannotRunError: no such adapter, its extra is not installed, or a credential is missing.
    """
    adapter = _adapter(description)
    try:
        return import_module(adapter.module).open_provider(description, context or AdapterContext())
    except ModuleNotFoundError as error:
        raise _not_installed(description, adapter, error) from None


def calibration_of(description: DeviceDescription, now_us: int) -> Calibration | None:
    """The calibration that a description tells without opening the device; None where it tells none.

    Raises:
        CannotRunError: the extra that carries the snapshots is not installed.
    """
    if description.calibration != "snapshot":
        return None
    from backends.aer.snapshots import load_snapshot

    return load_snapshot(description.vendor_name).aged(
        now_us, description.calibration_age_s, drop_dead_couplings=description.drop_dead_couplings
    )


def _adapter(description: DeviceDescription) -> Adapter:
    if description.provider not in ADAPTERS:
        raise CannotRunError(
            f"device.{description.name}.provider",
            description.provider,
            "no such adapter",
            f"use one of {', '.join(ADAPTERS)}",
        )
    return ADAPTERS[description.provider]


def _not_installed(
    description: DeviceDescription, adapter: Adapter, error: ModuleNotFoundError
) -> CannotRunError:
    if not adapter.extra or (error.name or "").partition(".")[0] == "backends":
        raise error
    return CannotRunError(
        "execution.device", description.name, f"needs {error.name}", f"install shotwise[{adapter.extra}]"
    )
