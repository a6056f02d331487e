"""Where circuits run: the device protocol, this machine's simulators, and devices by name."""

from backends.device import Capabilities, ExactDevice, Expectations, Sampler
from backends.devices import DEVICE_NAMES, open_device

__all__ = ["DEVICE_NAMES", "Capabilities", "ExactDevice", "Expectations", "Sampler", "open_device"]
