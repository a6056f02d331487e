"""Which devices their own recent jobs speak against: a circuit breaker that every driver sees, the journal.

A device whose last `FAILURES_MAX` jobs all failed is left alone for a while that doubles with every further
failure. Then one batch is risked: what becomes of it closes the breaker or opens it for longer.
"""

from __future__ import annotations

from collections.abc import Sequence

from ledger import Database, DeviceHistory, device_histories, failing_devices, now_us
from shotwise.words import duration

RECENT_S = 24 * 3600
FAILURES_MAX = 3
PAUSE_S = 60.0
PAUSE_LONGEST_S = 3600.0


def recent(database: Database, devices: Sequence[str]) -> dict[str, DeviceHistory]:
    """How the latest jobs of each device ended, of those of the last day."""
    return device_histories(database, devices, since_us=now_us() - RECENT_S * 1_000_000)


def unhealthy_devices(database: Database, devices: Sequence[str]) -> dict[str, str]:
    """Devices that should not be sent a batch now, each with the reason."""
    at_us = now_us()
    since_us = at_us - round(PAUSE_LONGEST_S * 1e6)
    failing = failing_devices(database, since_us=since_us, failures_min=FAILURES_MAX)
    suspects = [name for name in devices if name in failing]
    if not suspects:
        return {}
    reasons = {name: breaker_reason(history, at_us) for name, history in recent(database, suspects).items()}
    return {name: why for name, why in reasons.items() if why}


def breaker_reason(history: DeviceHistory, at_us: int) -> str | None:
    """Why a device is left alone, as a short clause; None where it may be used."""
    failures = history.failures_in_a_row
    if failures < FAILURES_MAX or history.failed_us is None:
        return None
    pause_s = min(PAUSE_S * 2.0 ** min(failures - FAILURES_MAX, 20), PAUSE_LONGEST_S)
    left_s = pause_s - (at_us - history.failed_us) / 1e6
    if not 0 < left_s <= pause_s:
        return None
    return f"its last {failures} jobs failed; left alone for another {duration(left_s)}"
