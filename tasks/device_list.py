"""The devices as a user sees them: health, calibration age, price of a reference job."""

from __future__ import annotations

from typing import Any

import numpy as np

from backends.calibration import rejection_reason
from backends.catalog import calibration_of, load_catalog, usage_of
from backends.fleet import Fleet, fleet_names
from backends.provider import ProviderUnavailable
from ledger import Database, DeviceHistory
from measurement import Bases, ExecutionPlan
from problems import Circuit, Rotation
from shotwise.errors import CannotRunError, UnreachableError
from tasks.fleet import open_fleet
from tasks.health import breaker_reason, recent
from tasks.routing import quarantined

REFERENCE_SHOTS = 1000
NO_ANSWER, UNUSABLE = "no usable answer", "cannot be used"


def device_rows(database: Database | None, *, everything: bool = False) -> list[dict[str, Any]]:
    """One row a device; devices of a sandbox are asked, no other is opened.

    Args:
        database: whose jobs tell how the devices did lately; None where nothing was ever run.

    Returns:
        What `--json` prints; a device that could not be asked says in `why` what its health is in a word.
    """
    names = tuple(dict.fromkeys((*(load_catalog().names if everything else ()), *fleet_names(None))))
    histories = recent(database, names) if database else {name: DeviceHistory(name) for name in names}
    out_of_use = quarantined(database) if database else {}
    with open_fleet(names) as fleet:
        rows = [_row(fleet, name) | _lately(histories[name], fleet.now_us()) for name in names]
    return [row | ({"health": out_of_use[row["name"]]} if row["name"] in out_of_use else {}) for row in rows]


def _lately(history: DeviceHistory, now_us: int) -> dict[str, Any]:
    """What its own jobs of the last day say of a device."""
    told = {f"jobs_{how}": getattr(history, how) for how in ("done", "failed", "unknown", "waiting")}
    why = breaker_reason(history, now_us)
    return {**told, "failures_in_a_row": history.failures_in_a_row, **({"health": why} if why else {})}


def reference_plan() -> ExecutionPlan:
    """A Bell-like circuit on two qubits, measured once with 1000 shots."""
    circuit = Circuit.build(2, [Rotation(0b11, 0, 0b01, offset=np.pi / 2)], initial_state=0b01)
    zero = np.zeros(1, dtype=np.int64)
    shots = np.array([REFERENCE_SHOTS])
    return ExecutionPlan(
        circuit, circuit.angles(np.zeros((1, 0))), Bases(zero, zero), zero, zero, shots, (0,)
    )


def _row(fleet: Fleet, name: str) -> dict[str, Any]:
    try:
        description = fleet.description(name)
        in_sandbox = description.provider == "sandbox"
        told = fleet.calibration(name) if in_sandbox else calibration_of(description, fleet.now_us())
    except (CannotRunError, ProviderUnavailable) as error:
        why = error.reason if isinstance(error, CannotRunError) else str(error)
        silent = isinstance(error, UnreachableError | ProviderUnavailable)
        return {
            "name": name, "provider": "", "n_qubits": 0, "health": NO_ANSWER if silent else UNUSABLE,
            "why": why.removeprefix(f"{name}: "), "calibration_age_s": None, "queue_s": 0.0,
            "reference_job_micro_usd": 0, "enabled": False,
        }  # fmt: skip
    needs = description.calibration == "snapshot" or (in_sandbox and description.calibration != "none")
    why = rejection_reason(told, fleet.now_us()) if needs else None
    plan = reference_plan()
    return {
        "name": name,
        "provider": description.provider,
        "n_qubits": description.n_qubits,
        "health": why or ("ok" if description.enabled else "disabled"),
        "calibration_age_s": None if told is None else (fleet.now_us() - told.taken_us) / 1e6,
        "queue_s": description.queue.mean_s,
        "reference_job_micro_usd": description.price.cost_micro_usd(usage_of(plan, description)),
        "enabled": description.enabled,
        "price_date": description.price.date,
        "price_source": description.price.source,
    }
