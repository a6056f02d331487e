"""What is known of a device before it is opened: capabilities, limits, price, queue."""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, Decimal
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from backends.prices import Price

_FROZEN = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

Couplings = tuple[tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=0)]], ...]


class QueueModel(BaseModel):
    """How long a job waits and how long it then runs.

    Waiting is log-normal: median `median_s`, `sigma` the standard deviation of its natural logarithm. Running
    takes seconds_per_job + seconds_per_circuit * circuits + seconds_per_shot * shots, which is also what a
    price per second bills; `whole_seconds` rounds it up, where a vendor limits and counts no parts of one.
    """

    model_config = _FROZEN

    median_s: float = Field(default=0.0, ge=0)
    sigma: float = Field(default=0.0, ge=0, le=5)
    seconds_per_job: Decimal = Field(default=Decimal(0), ge=0)
    seconds_per_circuit: Decimal = Field(default=Decimal(0), ge=0)
    seconds_per_shot: Decimal = Field(default=Decimal(0), ge=0)
    whole_seconds: bool = False
    date: str = ""
    source: str = ""

    @property
    def mean_s(self) -> float:
        """Expected wait."""
        return self.median_s * math.exp(self.sigma**2 / 2)

    def draw_s(self, generator: np.random.Generator) -> float:
        """One wait."""
        return self.median_s * math.exp(self.sigma * generator.standard_normal())

    def run_s(self, circuits: int, shots: int) -> Decimal:
        """How long a job of `circuits` circuits and `shots` shots altogether occupies the device."""
        seconds = self.seconds_per_job + self.seconds_per_circuit * circuits + self.seconds_per_shot * shots
        return seconds.to_integral_value(ROUND_CEILING) if self.whole_seconds else seconds


class DeviceDescription(BaseModel):
    """One device of the catalog.

    Attributes:
        name: what users and the journal call it.
        provider: key of the adapter that opens it (`backends.catalog.ADAPTERS`).
        description: for people; says where a simulated device's price comes from.
        vendor_name: what the adapter asks its vendor for: a snapshot, a backend's name, an ARN.
        n_qubits: largest circuit.
        shots_max: per circuit.
        circuits_max: per job.
        equal_shots: all circuits of a job must have the same number of shots.
        job_shots_max: of all circuits of a job, which have `equal_shots`; None for no limit of its own.
        native_gates: in Qiskit's names; empty for simulators that take any.
        connectivity: "all", pairs (a, b) of qubits, or where the couplings are told: "snapshot", "provider".
        price: with date and source; its `failure_billing` says who pays for failed jobs.
        queue: with date and source.
        calibration: where error rates are told; "none" for noiseless simulators, which need none.
        calibration_age_s: how old a simulated device claims its snapshot to be.
        drop_dead_couplings: see `backends.aer.snapshots.Snapshot.aged`.
        submits_per_minute_max: the vendor's limit, None where there is none.
        endless: its price counts seconds, and nothing ends a job at those that were quoted.
        verbatim: runs circuits on the physical qubits and with the gates chosen here, so that folds survive.
        enabled: offered to dispatch unless the user says otherwise; cloud devices are not.
    """

    model_config = _FROZEN

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")
    provider: str = Field(min_length=1)
    description: str = Field(min_length=1)
    vendor_name: str = ""
    n_qubits: int = Field(ge=1)
    shots_max: int = Field(ge=1)
    circuits_max: int = Field(ge=1)
    equal_shots: bool = False
    job_shots_max: int | None = Field(default=None, ge=1)
    native_gates: tuple[str, ...] = ()
    connectivity: Literal["all", "snapshot", "provider"] | Couplings = "all"
    price: Price
    queue: QueueModel
    calibration: Literal["none", "snapshot", "provider"] = "none"
    calibration_age_s: float = Field(default=3600.0, ge=0)
    drop_dead_couplings: bool = False
    submits_per_minute_max: float | None = Field(default=None, gt=0)
    endless: bool = False
    verbatim: bool = False
    enabled: bool

    @model_validator(mode="after")
    def _figures_have_sources(self) -> DeviceDescription:
        figures = (("price", self.price, self.price.is_free), ("queue", self.queue, self.queue.median_s == 0))
        for name, figure, trivial in figures:
            if not trivial and not (figure.date and figure.source):
                raise ValueError(f"{name} has no date and source")
        return self

    @model_validator(mode="after")
    def _job_shots_are_of_equal_circuits(self) -> DeviceDescription:
        if self.job_shots_max is not None and not self.equal_shots:
            raise ValueError("job_shots_max needs equal_shots = true")
        return self

    @model_validator(mode="after")
    def _couplings_fit(self) -> DeviceDescription:
        if not isinstance(self.connectivity, str) and any(
            a == b or max(a, b) >= self.n_qubits for a, b in self.connectivity
        ):
            raise ValueError(f"connectivity names a qubit twice or beyond {self.n_qubits - 1}")
        return self
