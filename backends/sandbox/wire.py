"""Plans and outcomes as JSON: exact, bounded, validated; floats as base64 of little-endian float64."""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Annotated, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from measurement.plan import Bases, ExecutionPlan, Outcome
from problems.circuit import FIXED, Circuit

QUBITS_MAX = 24
ROTATIONS_MAX = 20_000
ROWS_MAX = 10_000
ANGLES_MAX = 4_000_000
SHOTS_MAX = 10_000_000
BODY_BYTES_MAX = 64 << 20
"""Of one request or answer; the largest plan and outcome allowed here are below it."""

_ENTROPY_MAX = 1 << 256

Mask = Annotated[int, Field(ge=0, lt=1 << QUBITS_MAX)]
Masks = Annotated[list[Mask], Field(max_length=ROTATIONS_MAX)]
Floats = Annotated[str, Field(max_length=11 * ANGLES_MAX)]


class _Exact(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class PlanMessage(_Exact):
    """An `ExecutionPlan`. Every index and mask is checked against what it refers to."""

    n_qubits: int = Field(ge=1, le=QUBITS_MAX)
    n_parameters: int = Field(ge=0, le=ROTATIONS_MAX)
    initial_state: Mask
    initial_plus: bool
    x: Masks
    z: Masks
    source: Masks
    excitation: list[bool] = Field(max_length=ROTATIONS_MAX)
    parameter: list[Annotated[int, Field(ge=FIXED, lt=ROTATIONS_MAX)]] = Field(max_length=ROTATIONS_MAX)
    scale: Floats
    offset: Floats
    points: int = Field(ge=1, le=ROWS_MAX)
    angles: Floats
    bases_x: list[Mask] = Field(min_length=1, max_length=ROWS_MAX)
    bases_z: list[Mask] = Field(min_length=1, max_length=ROWS_MAX)
    bases_cliffords: list[list[Annotated[tuple[Mask, Mask], Field(strict=False)]]] = Field(
        default=[],
        max_length=ROWS_MAX,  # JSON has no tuples
    )
    point: list[Annotated[int, Field(ge=0, lt=ROWS_MAX)]] = Field(min_length=1, max_length=ROWS_MAX)
    basis: list[Annotated[int, Field(ge=0, lt=ROWS_MAX)]] = Field(min_length=1, max_length=ROWS_MAX)
    shots: list[Annotated[int, Field(ge=0, le=SHOTS_MAX)]] = Field(min_length=1, max_length=ROWS_MAX)
    seed: list[Annotated[int, Field(ge=0)]] = Field(min_length=1, max_length=32)

    @classmethod
    def of(cls, plan: ExecutionPlan) -> PlanMessage:
        """The message of a plan.

        Raises:
            ValueError: folded or flipped circuits, which the wire does not carry.
            pydantic.ValidationError: the plan is larger than the wire allows, or inconsistent.
        """
        if plan.bases.varied:
            raise ValueError("the wire carries no folded or flipped circuits")
        circuit = plan.circuit
        return cls(
            n_qubits=circuit.n_qubits,
            n_parameters=circuit.n_parameters,
            initial_state=int(circuit.initial_state),
            initial_plus=bool(circuit.initial_plus),
            x=circuit.x.tolist(),
            z=circuit.z.tolist(),
            source=circuit.source.tolist(),
            excitation=circuit.excitation.tolist(),
            parameter=circuit.parameter.tolist(),
            scale=_text(circuit.scale),
            offset=_text(circuit.offset),
            points=len(plan.angles),
            angles=_text(plan.angles),
            bases_x=plan.bases.x.tolist(),
            bases_z=plan.bases.z.tolist(),
            bases_cliffords=[[*rotations] for rotations in plan.bases.cliffords],
            point=plan.point.tolist(),
            basis=plan.basis.tolist(),
            shots=plan.shots.tolist(),
            seed=[int(word) for word in plan.seed],
        )

    def plan(self) -> ExecutionPlan:
        """The plan that the message says."""
        circuit = Circuit(
            n_qubits=self.n_qubits,
            n_parameters=self.n_parameters,
            initial_state=self.initial_state,
            initial_plus=self.initial_plus,
            x=np.array(self.x, dtype=np.int64),
            z=np.array(self.z, dtype=np.int64),
            source=np.array(self.source, dtype=np.int64),
            excitation=np.array(self.excitation, dtype=bool),
            parameter=np.array(self.parameter, dtype=np.int32),
            scale=_floats(self.scale, len(self.x)),
            offset=_floats(self.offset, len(self.x)),
        )
        return ExecutionPlan(
            circuit,
            _floats(self.angles, self.points * len(self.x)).reshape(self.points, len(self.x)),
            Bases(
                np.array(self.bases_x, dtype=np.int64),
                np.array(self.bases_z, dtype=np.int64),
                tuple(tuple(rotations) for rotations in self.bases_cliffords),
            ),
            np.array(self.point, dtype=np.int64),
            np.array(self.basis, dtype=np.int64),
            np.array(self.shots, dtype=np.int64),
            tuple(self.seed),
        )

    @property
    def sha256(self) -> str:
        """Equal for equal plans."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        rotations, rows, states = len(self.x), len(self.point), 1 << self.n_qubits
        for name in ("z", "source", "excitation", "parameter"):
            _require(len(getattr(self, name)) == rotations, f"{name} has not one entry a rotation")
        for name in ("basis", "shots"):
            _require(len(getattr(self, name)) == rows, f"{name} has not one entry a row")
        _require(len(self.bases_x) == len(self.bases_z), "bases_x and bases_z differ in length")
        _require(len(self.bases_cliffords) in (0, len(self.bases_x)), "bases_cliffords misses a basis")
        _require(sum(map(len, self.bases_cliffords)) <= ROTATIONS_MAX, "bases_cliffords is too long")
        masks = (mask for rotations in self.bases_cliffords for pair in rotations for mask in pair)
        _require(max(masks, default=0) < states, "bases_cliffords names a qubit that is not there")
        for name in ("x", "z", "source", "bases_x", "bases_z"):
            _require(max(getattr(self, name), default=0) < states, f"{name} names a qubit that is not there")
        _require(self.initial_state < states, "initial_state names a qubit that is not there")
        _require(max(self.parameter, default=FIXED) < self.n_parameters, "parameter is not there")
        _require(max(self.point) < self.points, "point is not there")
        _require(max(self.basis) < len(self.bases_x), "basis is not there")
        _require(max(self.seed) < _ENTROPY_MAX, "seed is too large")
        _require(sum(self.shots) > 0, "no shots")
        for x, z, source, excitation in zip(self.x, self.z, self.source, self.excitation, strict=True):
            _require(not source & ~x, "source lies outside x")
            _require(not excitation or (x != 0 and not x & z), "an excitation needs an x, disjoint from z")
        _floats(self.scale, rotations)
        _floats(self.offset, rotations)
        _floats(self.angles, self.points * rotations)
        return self


class OutcomeMessage(_Exact):
    """An `Outcome`, in the same rows."""

    states: list[Mask]
    counts: list[Annotated[int, Field(ge=1, le=SHOTS_MAX)]]
    offsets: list[Annotated[int, Field(ge=0)]] = Field(min_length=1, max_length=ROWS_MAX + 1)

    @classmethod
    def of(cls, outcome: Outcome) -> OutcomeMessage:
        return cls(
            states=outcome.states.tolist(), counts=outcome.counts.tolist(), offsets=outcome.offsets.tolist()
        )

    def outcome(self) -> Outcome:
        return Outcome(
            np.array(self.states, dtype=np.int64),
            np.array(self.counts, dtype=np.int64),
            np.array(self.offsets, dtype=np.int64),
        )

    def fault_against(self, plan: ExecutionPlan) -> str | None:
        """Why this cannot be an outcome of the plan, as a short clause; None where it can."""
        if len(self.offsets) != len(plan) + 1:
            return f"{len(self.offsets) - 1} rows instead of {len(plan)}"
        if max(self.states, default=0) >= 1 << plan.circuit.n_qubits:
            return "a basis state of more qubits than the plan has"
        if np.any(self.outcome().shots > plan.shots):
            return "more shots than were bought"
        return None

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        _require(len(self.states) == len(self.counts), "states and counts differ in length")
        _require(self.offsets[0] == 0 and self.offsets[-1] == len(self.states), "offsets miss the ends")
        _require(all(np.diff(self.offsets) >= 0), "offsets go back")
        return self


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ValueError(otherwise)


def _text(values: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(values, dtype="<f8").tobytes()).decode("ascii")


def _floats(text: str, count: int) -> np.ndarray:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("not base64") from None
    _require(len(data) == 8 * count, f"{len(data)} bytes instead of {8 * count}")
    values = np.frombuffer(data, dtype="<f8").astype(np.float64)
    _require(bool(np.isfinite(values).all()), "holds a value that is not finite")
    return values
