"""What crosses the wire beside plans and outcomes: submissions, answers, descriptions, bills."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from backends.calibration import Calibration
from backends.prices import Price
from backends.provider import BillLine, JobReport, JobState
from backends.sandbox.wire import PlanMessage

TOKEN_PATTERN = r"^[A-Za-z0-9._:-]{1,64}$"
BILL_PAGE_LINES = 1000

Tag = Annotated[str, Field(pattern=TOKEN_PATTERN)]


class Message(BaseModel):
    """Frozen, closed, and NaN survives it: as the string "NaN"."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class Submission(Message):
    """A plan to buy, under a client token (dropped by devices that ignore tokens) and searchable tags."""

    token: Tag
    tags: tuple[Tag, ...] = Field(default=(), max_length=8)
    plan: PlanMessage


class Receipt(Message):
    """The answer to a submission; it repeats the tags, so that a client can tell whose reply it holds."""

    job_id: str
    tags: tuple[str, ...]


class JobAnswer(Message):
    """A job's state."""

    job_id: str
    state: JobState
    cost_micro_usd: int | None = None
    message: str = ""

    def report(self) -> JobReport:
        return JobReport(self.job_id, self.state, self.cost_micro_usd, self.message)


class JobIds(Message):
    """Jobs that a search found, oldest first."""

    job_ids: tuple[str, ...]


class BillLineMessage(Message):
    """One line of the bill; `line` grows and never changes."""

    line: int
    job_id: str
    token: str | None
    cost_micro_usd: int
    description: str

    def bill_line(self) -> BillLine:
        return BillLine(self.job_id, self.token, self.cost_micro_usd, self.description)


class BillPage(Message):
    """Lines after the one asked for, at most BILL_PAGE_LINES; an empty page is the end."""

    lines: tuple[BillLineMessage, ...]


class QueueModel(Message):
    """How long jobs wait and run: jobs of one device run one after another, `latency_s` at the earliest.

    Attributes:
        wait_scale: multiplies every wait; the seconds that are billed stay.
    """

    latency_s: Decimal = Field(default=Decimal(0), ge=0, le=604800)
    per_circuit_s: Decimal = Field(default=Decimal(0), ge=0, le=3600)
    per_shot_s: Decimal = Field(default=Decimal(0), ge=0, le=3600)
    wait_scale: Decimal = Field(default=Decimal(1), ge=0, le=1000)

    def run_s(self, circuits: int, shots: int) -> Decimal:
        """Seconds on the device, as billed."""
        return self.per_circuit_s * circuits + self.per_shot_s * shots


class DeviceDescription(Message):
    """What a client may know of a device; the price is the one of now."""

    name: str
    n_qubits: int
    shots_max: int
    circuits_max: int
    honours_tokens: bool
    reports_cost: bool
    price: Price
    queue: QueueModel


class DeviceList(Message):
    devices: tuple[DeviceDescription, ...]


class QueueAnswer(Message):
    """Jobs that have not ended, and when a job submitted now would start."""

    jobs: int
    wait_s: float


class CalibrationMessage(Message):
    """A `Calibration`; values that are no numbers travel as the strings "NaN", "Infinity"."""

    taken_us: int
    readout_error: tuple[float, ...]
    one_qubit_error: tuple[float, ...]
    two_qubit_error: tuple[tuple[tuple[int, int], float], ...]
    t1_s: tuple[float | None, ...] = ()
    t2_s: tuple[float | None, ...] = ()
    one_qubit_s: float
    two_qubit_s: float
    readout_s: float

    @classmethod
    def of(cls, calibration: Calibration) -> CalibrationMessage:
        return cls(**vars(calibration))

    def calibration(self) -> Calibration:
        return Calibration(**dict(self))


class Problem(Message):
    """Why a request was refused: `code` is for programs."""

    code: str
    message: str


class Refusal(Message):
    error: Problem


class ClockSetting(Message):
    """Move the sandbox's clock: by `advance_s`, or to `offset_s` ahead of this machine's; also back."""

    advance_s: float | None = Field(default=None, ge=-1e9, le=1e9)
    offset_s: float | None = Field(default=None, ge=-1e9, le=1e9)


class ClockAnswer(Message):
    now_us: int
    offset_us: int
