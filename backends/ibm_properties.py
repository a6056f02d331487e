"""IBM's backend properties as a calibration: its service's answers and its snapshots are alike."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Iterator
from datetime import datetime

from backends.calibration import Calibration

TWO_QUBIT_GATES = ("cx", "ecr", "cz")
"""Native two-qubit gates of the snapshots, one of them a device."""

_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0}
_PULSE = "sx"


def read_calibration(properties: dict) -> Calibration:
    """IBM's backend properties (its REST answer, or a snapshot's JSON) as a calibration.

    What is missing becomes NaN where the calibration needs a number, so that it is rejected, and None for
    T1 and T2. A pair that has the gate in both directions counts with the better one.
    """
    qubits = [{entry["name"]: _value(entry) for entry in qubit} for qubit in properties["qubits"]]
    gates = [(gate["gate"], tuple(gate["qubits"]), _parameters(gate)) for gate in properties["gates"]]
    pulses = {where[0]: values for name, where, values in gates if name == _PULSE}
    pairs: dict[tuple[int, int], float] = {}
    for name, where, values in gates:
        if name in TWO_QUBIT_GATES:
            pair = (min(where), max(where))
            pairs[pair] = min(values.get("gate_error", math.nan), pairs.get(pair, math.inf))
    two_qubit = [values for name, _, values in gates if name in TWO_QUBIT_GATES]
    return Calibration(
        taken_us=round(datetime.fromisoformat(properties["last_update_date"]).timestamp() * 1e6),
        readout_error=tuple(qubit.get("readout_error", math.nan) for qubit in qubits),
        one_qubit_error=tuple(pulses.get(q, {}).get("gate_error", math.nan) for q in range(len(qubits))),
        two_qubit_error=tuple(sorted(pairs.items())),
        t1_s=tuple(qubit.get("T1") for qubit in qubits),
        t2_s=tuple(qubit.get("T2") for qubit in qubits),
        one_qubit_s=_median(pulses.values(), "gate_length", 5e-8),
        two_qubit_s=_median(two_qubit, "gate_length", 3e-7),
        readout_s=_median(qubits, "readout_length", 1e-6),
    )


def _value(entry: dict) -> float:
    return float(entry["value"]) * _SECONDS.get(entry["unit"], 1.0)


def _parameters(gate: dict) -> dict[str, float]:
    return {entry["name"]: _value(entry) for entry in gate["parameters"]}


def _median(rows: Iterable[dict[str, float]], key: str, otherwise: float) -> float:
    def known() -> Iterator[float]:
        for row in rows:
            if row.get(key, 0.0) > 0:
                yield row[key]

    values = list(known())
    return statistics.median(values) if values else otherwise
