"""A device's target without what its calibration calls dead."""

from __future__ import annotations

import math

from qiskit.transpiler import InstructionProperties, Target

DEAD_ERROR = 0.5
"""A gate this bad is worth nothing. Snapshots hold errors of 1.0 for couplings that are switched off."""


def usable_target(target: Target) -> Target:
    """The target without gates whose error is at least 0.5 or no probability.

    Qiskit's layouts would otherwise use them: routing does not look at errors.
    """
    usable = Target(
        num_qubits=target.num_qubits,
        dt=target.dt,
        granularity=target.granularity,
        min_length=target.min_length,
        pulse_alignment=target.pulse_alignment,
        acquire_alignment=target.acquire_alignment,
        qubit_properties=target.qubit_properties,
    )
    for name in target.operation_names:
        operation, places = target.operation_from_name(name), target[name]
        if places is None or None in places:
            usable.add_instruction(operation, name=name)
            continue
        kept = {qubits: place for qubits, place in places.items() if _works(place)}
        if kept:
            usable.add_instruction(operation, kept, name=name)
    return usable


def _works(place: InstructionProperties | None) -> bool:
    if place is None or place.error is None:
        return True
    return math.isfinite(place.error) and 0.0 <= place.error < DEAD_ERROR
