"""What devices showed when they were probed, and which of them are quarantined. Nothing is ever rewritten."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import Connection, func, insert, select

from ledger.database import Database
from ledger.records import now_us
from ledger.tables import probes, quarantines


class ProbeVerdict(StrEnum):
    """What a probe says of its device."""

    GOOD = "good"
    DRIFTING = "drifting"
    """Worse than it was."""
    BAD = "bad"
    """Too bad whatever it was."""


@dataclass(frozen=True)
class Probe:
    """One look at a device.

    Attributes:
        shots: spent on it.
        readout_error: mean probability of a wrong bit.
        mirror_error: one minus the share of shots in which a mirror circuit came back to where it began.
        reason: of the verdict, a short clause.
        details_json: the id of the run that measured, and the readout error of each qubit.
    """

    device: str
    at_us: int
    shots: int
    readout_error: float
    mirror_error: float
    verdict: ProbeVerdict
    reason: str
    details_json: str = "{}"


class DeviceHealth:
    """Probes and quarantines of all devices."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def enter(self, probe: Probe, *, quarantined: bool | None = None) -> None:
        """Enter a probe and the change of quarantine that follows from it, together; None for no change."""
        with self.database.write() as connection:
            key = connection.execute(insert(probes).values(**vars(probe))).inserted_primary_key
            probe_id = None if key is None else key[0]
            if quarantined is not None:
                _change(connection, probe.device, quarantined, probe.reason, probe_id)

    def set(self, device: str, *, quarantined: bool, reason: str) -> None:
        """Change a device's standing by hand."""
        with self.database.write() as connection:
            _change(connection, device, quarantined, reason, None)

    def history(self, device: str, *, limit: int = 20) -> list[Probe]:
        """A device's latest probes, newest first."""
        wanted = [column for column in probes.c if column.name != "probe_id"]
        query = (
            select(*wanted).where(probes.c.device == device).order_by(probes.c.probe_id.desc()).limit(limit)
        )
        with self.database.read() as connection:
            return [
                Probe(**{**row, "verdict": ProbeVerdict(row["verdict"])})
                for row in connection.execute(query).mappings()
            ]

    def since_release(self, device: str, *, limit: int) -> list[Probe]:
        """As `history`, but nothing from before a person last released the device: that is accepted."""
        of_device = quarantines.c.device == device
        by_hand = quarantines.c.probe_id.is_(None) & quarantines.c.quarantined.is_(False)
        query = select(func.max(quarantines.c.at_us)).where(of_device, by_hand)
        with self.database.read() as connection:
            released_us = connection.execute(query).scalar()
        found = self.history(device, limit=limit)
        return found if released_us is None else [probe for probe in found if probe.at_us > released_us]

    def quarantined(self) -> dict[str, str]:
        """Devices that shall not be used now, with the reason."""
        newest = select(func.max(quarantines.c.change_id)).group_by(quarantines.c.device)
        query = (
            select(quarantines.c.device, quarantines.c.reason)
            .where(quarantines.c.change_id.in_(newest), quarantines.c.quarantined)
            .order_by(quarantines.c.change_id.desc())
        )
        with self.database.read() as connection:
            return {row.device: row.reason for row in connection.execute(query)}


def _change(
    connection: Connection, device: str, quarantined: bool, reason: str, probe_id: int | None
) -> None:
    connection.execute(
        insert(quarantines).values(
            device=device, at_us=now_us(), quarantined=quarantined, reason=reason, probe_id=probe_id
        )
    )
