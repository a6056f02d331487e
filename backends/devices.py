"""Exact devices by name."""

from __future__ import annotations

from backends.device import ExactDevice
from shotwise.errors import CannotRunError

DEVICE_NAMES = ("jax", "lightning")


def open_device(name: str) -> ExactDevice:
    """The device of that name; its library is imported only here.

    Raises:
        CannotRunError: there is no such device.
    """
    if name == "jax":
        from backends.jax_device import JaxDevice

        return JaxDevice()
    if name == "lightning":
        from backends.lightning import LightningDevice

        return LightningDevice()
    raise CannotRunError("execution.device", name, "no such device", f"use one of {', '.join(DEVICE_NAMES)}")
