"""Waiting for a provider account's rate limit, before anything is sent."""

from __future__ import annotations

from collections.abc import Callable

from backends.catalog import DeviceDescription
from ledger import Database, claim_submission, now_us

_LONGEST_SLEEP_S = 5.0
"""Others may claim what comes free, so a long wait asks again in between."""


def wait_for_rate_limit(
    database: Database, description: DeviceDescription, sleep: Callable[[float], None]
) -> None:
    """Return when the device's account may be sent one more job, which is then counted.

    All drivers on the same database share the limit; it needs no server but the database.
    """
    per_minute = description.submits_per_minute_max
    if per_minute is None:
        return
    while wait_s := claim_submission(database, description.provider, per_minute, now_us()):
        sleep(min(wait_s, _LONGEST_SLEEP_S))
