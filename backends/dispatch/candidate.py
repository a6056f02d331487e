"""What dispatch knows of a device for one batch, and what it is asked. Plain data, no I/O."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass

from pydantic_core import to_json

from shotwise.version_compatibility import known_fields


@dataclass(frozen=True)
class Candidate:
    """One device's predictions for one batch.

    Attributes:
        device: catalog name.
        refusal: why it cannot take the batch, None where it can.
        silent: whether that is only because it gave no usable answer.
        cost_micro_usd: expected cost of the batch; `cost_micro_usd_max` is what would be reserved.
        wait_s, run_s: expected queueing and running time.
        precise_micro_usd: expected cost at the precision asked for: with so many more shots (1 / success^2)
            that energies rescaled for the noise have the standard error that noiseless ones would.
        success: predicted probability that nothing goes wrong in a shot, 1 for noiseless simulators.
        uncalibrated: it has errors and tells none just now: success and bias are the worst that can be.
        bias: predicted |bias| of one energy, in its unit.
        std_error: of one energy at the planned shots, from the groups' weights.
        waiting_jobs: jobs ahead in the queue.
    """

    device: str
    refusal: str | None = None
    silent: bool = False
    cost_micro_usd: int = 0
    cost_micro_usd_max: int = 0
    precise_micro_usd: int = 0
    wait_s: float = 0.0
    run_s: float = 0.0
    success: float = 1.0
    bias: float = 0.0
    std_error: float = 0.0
    waiting_jobs: int = 0
    uncalibrated: bool = False

    @property
    def time_s(self) -> float:
        return self.wait_s + self.run_s

    @property
    def error(self) -> float:
        """Predicted root mean square error of one energy."""
        return math.hypot(self.bias, self.std_error)


@dataclass(frozen=True)
class RoutingRequest:
    """What is known of the run when a batch is routed.

    Attributes:
        progress: share of the run's iterations that are done, in [0, 1].
        final: whether this is the evaluation that the run reports, not a step of the optimization.
        micro_usd_spent: by the run so far.
        micro_usd_left: what the tightest budget above the run still allows; None is no limit.
    """

    progress: float = 0.0
    final: bool = False
    micro_usd_spent: int = 0
    micro_usd_left: int | None = None


@dataclass(frozen=True)
class ScoredCandidate:
    """One candidate in a decision: its score (less is better; None where refused) and why it won or lost."""

    candidate: Candidate
    score: float | None
    reason: str


@dataclass(frozen=True)
class Decision:
    """Where a batch goes: devices with their shares of the shots, and every candidate's score.

    Attributes:
        request: what was known of the run, so that the decision can be made again under another policy.
    """

    policy: str
    route: tuple[tuple[str, float], ...]
    candidates: tuple[ScoredCandidate, ...]
    request: RoutingRequest = RoutingRequest()

    def to_json(self) -> str:
        """As JSON, for the journal."""
        candidates = [
            {"candidate": vars(v.candidate), "score": v.score, "reason": v.reason} for v in self.candidates
        ]
        record = {
            "policy": self.policy,
            "question": vars(self.request),
            "route": self.route,
            "verdicts": candidates,
        }
        return to_json(record, inf_nan_mode="constants").decode()

    @classmethod
    def from_json(cls, text: str) -> Decision:
        """Read `to_json` of any version back."""
        raw = json.loads(text)
        candidates = tuple(
            ScoredCandidate(Candidate(**known_fields(Candidate, v["candidate"])), v["score"], v["reason"])
            for v in raw.get("verdicts", ())
        )
        route = tuple((device, share) for device, share in raw.get("route", ()))
        request = RoutingRequest(**known_fields(RoutingRequest, raw.get("question", {})))
        return cls(raw.get("policy", ""), route, candidates, request)

    @property
    def devices(self) -> tuple[str, ...]:
        return tuple(device for device, _ in self.route)

    @property
    def chosen(self) -> tuple[ScoredCandidate, ...]:
        """The candidates of the devices that the batch goes to."""
        return tuple(v for v in self.candidates if v.candidate.device in self.devices)

    @property
    def time_s(self) -> float:
        """Expected time until the whole route has ended: running shrinks with a share, waiting does not."""
        share = dict(self.route)
        return max(v.candidate.wait_s + v.candidate.run_s * share[v.candidate.device] for v in self.chosen)
