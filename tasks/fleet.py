"""Devices as this installation opens them: with its credentials, their jobs kept in its state folder."""

from __future__ import annotations

from collections.abc import Sequence

from backends.fleet import CalibrationPolicy, Fleet
from shotwise.home import Home
from tasks.credentials import credential


def open_fleet(
    names: Sequence[str] = (), calibration_policy: CalibrationPolicy | None = None, home: Home | None = None
) -> Fleet:
    """Devices by name, each opened when first needed; a context manager that closes them.

    Args:
        names: those that may be routed to; any other can still be asked for.
        calibration_policy: what is allowed of their calibrations, by default nothing unusual.
        home: where local devices keep their jobs; by default the installation's.
    """
    home = home or Home.from_environment()
    return Fleet(tuple(names), home.local_jobs, calibration_policy or CalibrationPolicy(), secret=credential)
