"""Where circuits run: the device protocol, this machine's simulators, and devices by name."""

from backends.device import Capabilities, Device, Expectations
from backends.devices import DEVICE_NAMES, open_device

__all__ = ["DEVICE_NAMES", "Capabilities", "Device", "Expectations", "open_device"]
