"""Braket's standardized device properties as a calibration."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

from backends.calibration import Calibration

_SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
_READOUT = "READOUT"


def read_calibration(capabilities: dict[str, Any]) -> Calibration | None:
    """The calibration in a device's capabilities (GetDevice); None where it tells none per qubit.

    Qubits are numbered densely in the order of the device's own labels, which may have gaps or begin at 1. A
    pair counts with its best gate, a qubit with its best one-qubit figure that is not readout; what is
    missing is NaN, so that the calibration is rejected.
    """
    standardized = capabilities.get("standardized") or {}
    ones, twos = standardized.get("oneQubitProperties"), standardized.get("twoQubitProperties")
    updated = (capabilities.get("service") or {}).get("updatedAt")
    if not ones or twos is None or not updated:
        return None
    labels = sorted(ones, key=int)
    place = {label: index for index, label in enumerate(labels)}
    pairs = [(sorted(place[label] for label in key.split("-")), value) for key, value in twos.items()]
    moment = datetime.fromisoformat(updated)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return Calibration(
        taken_us=round(moment.timestamp() * 1e6),
        readout_error=tuple(_error(ones[label], readout=True) for label in labels),
        one_qubit_error=tuple(_error(ones[label], readout=False) for label in labels),
        two_qubit_error=tuple(sorted(((low, high), _pair_error(value)) for (low, high), value in pairs)),
        t1_s=tuple(_time_s(ones[label].get("T1")) for label in labels),
        t2_s=tuple(_time_s(ones[label].get("T2")) for label in labels),
    )


def _error(qubit: dict[str, Any], *, readout: bool) -> float:
    fidelities = [
        entry["fidelity"]
        for entry in qubit.get("oneQubitFidelity", ())
        if entry["fidelityType"]["name"].upper().startswith(_READOUT) == readout
    ]
    return 1.0 - max(fidelities) if fidelities else math.nan


def _pair_error(pair: dict[str, Any]) -> float:
    fidelities = [entry["fidelity"] for entry in pair.get("twoQubitGateFidelity", ())]
    return 1.0 - max(fidelities) if fidelities else math.nan


def _time_s(entry: dict[str, Any] | None) -> float | None:
    return entry["value"] * _SECONDS[entry["unit"]] if entry and entry["unit"] in _SECONDS else None
