"""A quantum cloud in a folder: a small HTTP service with paid, queued, flaky devices, and its adapter.

For tests, demos and drills. `python -m backends.sandbox.serve` runs the service, `SandboxProcess` starts it
as a subprocess, `SandboxProvider` talks to it as a vendor's adapter would, `SandboxControl` injects faults
and moves its clock.
"""

from backends.sandbox.adapter import KEY_VARIABLE, SandboxProvider, Timeouts
from backends.sandbox.control import SandboxControl
from backends.sandbox.faults import FaultKind, FaultSpec
from backends.sandbox.process import SandboxProcess
from backends.sandbox.usage import usage_of

__all__ = [
    "KEY_VARIABLE",
    "FaultKind",
    "FaultSpec",
    "SandboxControl",
    "SandboxProcess",
    "SandboxProvider",
    "Timeouts",
    "usage_of",
]
