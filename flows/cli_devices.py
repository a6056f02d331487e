"""The command about devices: devices."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import click

from flows.cli_options import json_option, open_database

_HEALTH_MAX = 32


@click.command()
@json_option("Print a JSON array.")
@click.option("--all", "everything", is_flag=True, help="Also devices that are not enabled.")
@click.option(
    "--quarantine", "quarantined", multiple=True, metavar="DEVICE", help="Take DEVICE out of use first."
)
@click.option(
    "--release", "released", multiple=True, metavar="DEVICE", help="Take DEVICE back into use first."
)
def devices(as_json: bool, everything: bool, quarantined: tuple[str, ...], released: tuple[str, ...]) -> None:
    """List the devices with health, calibration age and the price of a reference job.

    The reference job is one circuit on two qubits with 1000 shots. Jobs are those of the last day: done,
    failed, and such of which nobody can say yet whether they were bought.
    """
    from ledger import Database
    from shotwise.home import Home
    from tasks.device_list import device_rows

    _set_quarantines(quarantined, released)
    home = Home.from_environment()
    database = Database(home.database_url) if home.has_database else None
    rows = device_rows(database, everything=everything)
    if as_json:
        click.echo(json.dumps(rows))
        return
    from flows.terminal import print_table
    from ledger import dollars
    from shotwise.words import duration

    columns = ("device", "provider", "qubits", "health", "calibration", "queue", "reference job", "jobs")
    print_table(
        columns,
        [
            (
                row["name"],
                row["provider"],
                str(row["n_qubits"]),
                _in_short(row["health"]),
                "" if row["calibration_age_s"] is None else duration(row["calibration_age_s"]),
                duration(row["queue_s"]),
                dollars(row["reference_job_micro_usd"], 4),
                _jobs(row),
            )
            for row in rows
        ],
    )
    for why, names in _reasons(rows).items():
        click.echo(f"{', '.join(names)}: {why}")


def _in_short(health: str) -> str:
    """Health as the table has it: its first clause, cut where that is long too."""
    if len(health) <= _HEALTH_MAX:
        return health
    clause = re.split("[;:]", health, maxsplit=1)[0]
    return clause if len(clause) <= _HEALTH_MAX else f"{clause[: _HEALTH_MAX - 3]}..."


def _reasons(rows: Sequence[dict[str, Any]]) -> dict[str, list[str]]:
    """What the table has no room for, each reason once, with the devices that it holds for."""
    told: dict[str, list[str]] = {}
    for row in rows:
        health = row["health"]
        for why in (row.get("why"), health if len(health) > _HEALTH_MAX else None):
            if why:
                told.setdefault(why, []).append(row["name"])
    return told


def _set_quarantines(quarantined: tuple[str, ...], released: tuple[str, ...]) -> None:
    """Quarantine and release by hand, once every device is known to exist and is named one way."""
    from ledger import DeviceHealth
    from shotwise.errors import SpecError
    from tasks.fleet import open_fleet

    names = (*quarantined, *released)
    for name in released:
        if name in quarantined:
            raise SpecError("DEVICE", name, "quarantined and released in one command", "name it once")
    if not names:
        return
    with open_fleet(names) as fleet:
        for name in names:
            fleet.description(name)
    health = DeviceHealth(open_database(make=True))
    for name in names:
        health.set(name, quarantined=name in quarantined, reason="by hand")


def _jobs(row: dict) -> str:
    told = [f"{row['jobs_' + how]} {how}" for how in ("done", "failed", "unknown") if row["jobs_" + how]]
    return ", ".join(told)


COMMANDS = (devices,)
