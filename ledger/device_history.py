"""How the jobs of each device ended lately, over all runs of the database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select

from ledger.database import Database
from ledger.records import JobPhase
from ledger.tables import jobs


@dataclass(frozen=True)
class DeviceHistory:
    """The latest bought jobs of a device.

    Attributes:
        done, failed, unknown, waiting: how many ended with a result, without one, cannot be said yet, or are
            still out. Cancelled jobs are in none.
        failures_in_a_row: failed jobs since the last one that was done.
        failed_us: when the last of them failed, None where none did.
    """

    device: str
    done: int = 0
    failed: int = 0
    unknown: int = 0
    waiting: int = 0
    failures_in_a_row: int = 0
    failed_us: int | None = None


def device_histories(
    database: Database, devices: Sequence[str], *, since_us: int, latest: int = 50
) -> dict[str, DeviceHistory]:
    """The histories of devices, of at most their `latest` jobs that began after `since_us`."""
    columns = (jobs.c.device, jobs.c.state, jobs.c.done_us)
    with database.read() as connection:
        return {
            device: _history(
                device,
                connection.execute(
                    select(*columns)
                    .where(jobs.c.device == device, jobs.c.created_us > since_us)
                    .where(jobs.c.quote_micro_usd.is_not(None))
                    .order_by(jobs.c.created_us.desc())
                    .limit(latest)
                ).all(),
            )
            for device in devices
        }


def failing_devices(database: Database, *, since_us: int, failures_min: int) -> list[str]:
    """Devices with at least so many jobs that failed after `since_us`: reads no other jobs."""
    query = (
        select(jobs.c.device)
        .where(jobs.c.state == JobPhase.FAILED, jobs.c.done_us > since_us)
        .group_by(jobs.c.device)
        .having(func.count() >= failures_min)
    )
    with database.read() as connection:
        return list(connection.execute(query).scalars())


def _history(device: str, newest_first: Sequence) -> DeviceHistory:
    phases = [JobPhase(row.state) for row in newest_first]
    ended = [row for row, phase in zip(newest_first, phases, strict=True) if phase in _COUNTED]
    in_a_row = next((at for at, row in enumerate(ended) if row.state == JobPhase.DONE), len(ended))
    return DeviceHistory(
        device,
        done=phases.count(JobPhase.DONE),
        failed=phases.count(JobPhase.FAILED),
        unknown=phases.count(JobPhase.UNKNOWN),
        waiting=phases.count(JobPhase.INTENT) + phases.count(JobPhase.SUBMITTED),
        failures_in_a_row=in_a_row,
        failed_us=max((row.done_us for row in ended[:in_a_row]), default=None),
    )


_COUNTED = (JobPhase.DONE, JobPhase.FAILED)
