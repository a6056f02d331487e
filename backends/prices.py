"""What work costs: a price as data, a cost as exact integers.

Money is integer micro-USD. Prices below a micro-USD (per gate and shot) are exact decimals; a cost is
rounded up once, at its end, so that a quote is never below the bill.
"""

from __future__ import annotations

from decimal import ROUND_CEILING, Decimal
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

MICRO = Decimal(1_000_000)


class FailureBilling(StrEnum):
    """Who pays for a job that failed or was cancelled."""

    NONE = "none"
    """Nothing is billed."""
    TASK_FEE = "task_fee"
    """The task fee is billed, the shots are not."""
    DONE_SHOTS = "done_shots"
    """The task fee and the shots that were run are billed."""
    FULL = "full"
    """Everything is billed as if it had succeeded."""


class Usage(BaseModel):
    """What a job used, or would use at most."""

    model_config = ConfigDict(frozen=True)

    tasks: int = Field(default=1, ge=0)
    shots: int = Field(default=0, ge=0)
    one_qubit_gate_shots: int = Field(default=0, ge=0)
    two_qubit_gate_shots: int = Field(default=0, ge=0)
    measured_qubit_shots: int = Field(default=0, ge=0)
    seconds: Decimal = Field(default=Decimal(0), ge=0)


class Price(BaseModel):
    """A device's price in USD, with where and when it was read.

    cost = max(minimum_usd * tasks, sum of the terms), rounded up to a micro-USD.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    per_task_usd: Decimal = Field(default=Decimal(0), ge=0)
    per_shot_usd: Decimal = Field(default=Decimal(0), ge=0)
    per_one_qubit_gate_shot_usd: Decimal = Field(default=Decimal(0), ge=0)
    per_two_qubit_gate_shot_usd: Decimal = Field(default=Decimal(0), ge=0)
    per_measured_qubit_shot_usd: Decimal = Field(default=Decimal(0), ge=0)
    per_second_usd: Decimal = Field(default=Decimal(0), ge=0)
    minimum_usd: Decimal = Field(default=Decimal(0), ge=0)
    failure_billing: FailureBilling = FailureBilling.NONE
    date: str = ""
    source: str = ""

    def cost_micro_usd(self, usage: Usage) -> int:
        """Exact cost of a usage, rounded up to a micro-USD."""
        terms = (
            self.per_task_usd * usage.tasks
            + self.per_shot_usd * usage.shots
            + self.per_one_qubit_gate_shot_usd * usage.one_qubit_gate_shots
            + self.per_two_qubit_gate_shot_usd * usage.two_qubit_gate_shots
            + self.per_measured_qubit_shot_usd * usage.measured_qubit_shots
            + self.per_second_usd * usage.seconds
        )
        floor = self.minimum_usd * usage.tasks
        return int((max(terms, floor) * MICRO).to_integral_value(ROUND_CEILING))

    @property
    def is_free(self) -> bool:
        return self == Price(failure_billing=self.failure_billing, date=self.date, source=self.source)
