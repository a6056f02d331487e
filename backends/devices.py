"""Exact devices by name."""

from __future__ import annotations

from backends.device import ExactDevice
from shotwise.errors import CannotRunError

DEVICE_NAMES = ("jax", "lightning")


def open_device(name: str) -> ExactDevice:
    """The device of that name; its library is imported only here.

    Raises:
        CannotRunError: it is not one on which exact runs are made.
    """
    if name == "jax":
        from backends.jax_device import JaxDevice

        return JaxDevice()
    if name == "lightning":
        from backends.lightning import LightningDevice

        return LightningDevice()
    problem = f"exact runs are on {' or '.join(DEVICE_NAMES)}"
    raise CannotRunError("execution.device", name, problem, "use one of them, or mode: shots")
