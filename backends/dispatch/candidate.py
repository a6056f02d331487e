"""What dispatch knows of a device for one batch, and what it is asked. Plain data, no I/O."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Candidate:
    """One device's predictions for one batch.

    Attributes:
        device: catalog name.
        refusal: why it cannot take the batch, None where it can.
        cost_micro_usd: expected cost of the batch; `cost_micro_usd_max` is what would be reserved.
        wait_s, run_s: expected queueing and running time.
        success: predicted probability that nothing goes wrong in a shot, 1 for noiseless simulators.
        bias: predicted |bias| of one energy, in its unit.
        std_error: of one energy at the planned shots, from the groups' weights.
        waiting_jobs: jobs ahead in the queue.
    """

    device: str
    refusal: str | None = None
    cost_micro_usd: int = 0
    cost_micro_usd_max: int = 0
    wait_s: float = 0.0
    run_s: float = 0.0
    success: float = 1.0
    bias: float = 0.0
    std_error: float = 0.0
    waiting_jobs: int = 0

    @property
    def time_s(self) -> float:
        return self.wait_s + self.run_s

    @property
    def error(self) -> float:
        """Predicted root mean square error of one energy."""
        return math.hypot(self.bias, self.std_error)


@dataclass(frozen=True)
class Question:
    """What is known of the run when a batch is routed.

    Attributes:
        progress: share of the run's iterations that are done, in [0, 1].
        micro_usd_left, shots_left: what the tightest budget above the run still allows; None is no limit.
    """

    progress: float = 0.0
    micro_usd_left: int | None = None
    shots_left: int | None = None


@dataclass(frozen=True)
class Verdict:
    """One candidate in a decision: its score (less is better; None where refused) and why it won or lost."""

    candidate: Candidate
    score: float | None
    reason: str


@dataclass(frozen=True)
class Decision:
    """Where a batch goes: devices with their shares of the shots, and every candidate's verdict."""

    policy: str
    route: tuple[tuple[str, float], ...]
    verdicts: tuple[Verdict, ...]

    def to_json(self) -> str:
        """As JSON, for the journal."""
        verdicts = [
            {"candidate": vars(v.candidate), "score": v.score, "reason": v.reason} for v in self.verdicts
        ]
        return json.dumps({"policy": self.policy, "route": self.route, "verdicts": verdicts})

    @property
    def devices(self) -> tuple[str, ...]:
        return tuple(device for device, _ in self.route)
