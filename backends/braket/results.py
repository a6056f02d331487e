"""What a task measured, from its files: one circuit, or a program set, whose parts may be files too."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from braket.task_result import (
    GateModelTaskResult,
    ProgramResult,
    ProgramSetExecutableFailure,
    ProgramSetExecutableResult,
    ProgramSetTaskResult,
)
from braket.tasks import GateModelQuantumTaskResult

from backends.braket.circuits import states_of
from measurement.plan import ExecutionPlan, Outcome

Read = Callable[[str, str], str]
"""The text of a bucket's object of that key."""

FILE = "results.json"
_FAILURE = "braket.task_result.program_set_executable_failure"


def circuit_result(text: str) -> GateModelQuantumTaskResult:
    """The result of a task of one circuit. Raises ValueError where it is none."""
    return GateModelQuantumTaskResult.from_object(GateModelTaskResult.parse_raw(text))


def outcome_of(text: str, plan: ExecutionPlan, read: Read) -> Outcome:
    """The outcome of the task that `backends.braket.circuits.action_of` made of a plan.

    Circuits of a program set that failed measured nothing.

    Args:
        text: of the task's result file.
        read: reads other files that it names.

    Raises:
        ValueError: it is no result of this plan.
    """
    if len(plan) == 1:
        result = circuit_result(text)
        found = [_measured(result.measurements, result.measured_qubits)]
    else:
        found = _program_set(text, int(plan.shots[0]), read)
    if len(found) != len(plan):
        raise ValueError(f"{len(found)} circuits were measured, {len(plan)} were asked for")
    if any(each.qubits not in (None, set(range(plan.circuit.n_qubits))) for each in found):
        raise ValueError("other qubits were measured than were asked for")
    return Outcome.from_rows([(each.states, each.counts) for each in found])


@dataclass(frozen=True, eq=False)
class _Measured:
    """What one circuit gave: distinct basis states, how often each came, and which qubits they are of."""

    states: np.ndarray
    counts: np.ndarray
    qubits: set[int] | None


def _measured(measurements: np.ndarray | list[list[int]] | None, qubits: list[int]) -> _Measured:
    if measurements is None:
        raise ValueError("no measurements")
    return _Measured(*states_of(np.asarray(measurements), qubits), set(qubits))


def _program_set(text: str, shots: int, read: Read) -> list[_Measured]:
    """Every executable, in the order of the programs."""
    whole = ProgramSetTaskResult.parse_raw(text)
    bucket, folder = whole.s3Location or ("", "")
    found = []
    for program in whole.programResults:
        at = folder
        if isinstance(program, str):
            at = f"{folder}/{program}".removesuffix(f"/{FILE}")
            program = ProgramResult.parse_raw(read(bucket, f"{folder}/{program}"))
        for executable in program.executableResults:
            if isinstance(executable, str):
                executable = _executable(read(bucket, f"{at}/{executable}"))
            found.append(_executed(executable, shots))
    return found


def _executable(text: str) -> ProgramSetExecutableResult | ProgramSetExecutableFailure:
    failed = json.loads(text)["braketSchemaHeader"]["name"] == _FAILURE
    return (ProgramSetExecutableFailure if failed else ProgramSetExecutableResult).parse_raw(text)


def _executed(executable: ProgramSetExecutableResult | ProgramSetExecutableFailure, shots: int) -> _Measured:
    if isinstance(executable, ProgramSetExecutableFailure):
        return _Measured(np.zeros(0), np.zeros(0), None)
    measurements, frequencies = executable.measurements, executable.measurementProbabilities
    if not measurements and frequencies:
        measurements = GateModelQuantumTaskResult.measurements_from_measurement_probabilities(
            frequencies, shots
        )
    return _measured(measurements, executable.measuredQubits or [])
