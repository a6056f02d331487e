"""The flow `calibrate`: probe every enabled device, quarantine what drifts, release what is good again."""

from __future__ import annotations

from typing import Any

from prefect import flow, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.events import emit_event

from backends.fleet import fleet_names
from ledger import Database
from shotwise.errors import ShotwiseError
from shotwise.home import Home
from shotwise.words import quantity
from tasks.calibrate import probe_device
from tasks.fleet import open_fleet
from tasks.flow_runs import deployment_label


@task(name="probe-device", task_run_name="probe {device}", cache_policy=NO_CACHE, persist_result=False)
def probe(device: str, shots: int) -> dict[str, Any]:
    """One device: what it showed, or why it could not be asked. A change of its standing is an event."""
    try:
        with open_fleet((device,)) as fleet:
            database = Database(Home.from_environment().database_url)
            found, standing = probe_device(database, fleet, device, shots=shots)
    except ShotwiseError as error:
        return {"device": device, "verdict": "not probed", "reason": str(error)}
    if standing is not None:
        emit_event(
            f"shotwise.device.{'quarantined' if standing else 'released'}",
            {"prefect.resource.id": f"shotwise.device.{device}", "prefect.resource.name": device},
            payload={"reason": found.reason},
        )
    return {**vars(found), "standing": standing}


@flow(name="calibrate", flow_run_name=deployment_label, persist_result=False)
def calibrate(devices: list[str] | None = None, shots: int = 1000) -> list[dict[str, Any]]:
    """Probe `devices`, or all that are enabled; `shots` a circuit, of which there are six a device."""
    found = [probe(device, shots) for device in devices or fleet_names(None)]
    create_markdown_artifact(
        _table(found), key="shotwise-calibration", description=quantity(len(found), "device")
    )
    return found


def _table(found: list[dict[str, Any]]) -> str:
    lines = ["| device | verdict | readout error | mirror error | reason |", "|---|---|---|---|---|"]
    for row in found:
        errors = [f"{row[name]:.4f}" if name in row else "" for name in ("readout_error", "mirror_error")]
        lines.append(f"| {row['device']} | {row['verdict']} | {errors[0]} | {errors[1]} | {row['reason']} |")
    return "\n".join(lines)
