"""Policies: pure functions from candidates that can take a batch to scores, less being better.

`balanced` is ours: the least expected cost for the error asked for. What an error is differs between the
steps of an optimization and the evaluation that it reports, so it asks two questions.

* A step compares energies. Under noise that keeps a state with probability F, differences shrink by F and
  keep their minimum, so what noise costs is shots: 1 / F^2 times as many for the same signal to noise. The
  score is the price of the batch at that many (`Candidate.precise_micro_usd`), by the device's own price
  list: where a job's fixed cost dominates, noise is cheap; where every shot is paid, it is not.
* The final evaluation is read as it is. Shots give it the standard error s, the device adds a bias b, and the
  run is worth what its report is worth: its score is the cost of the whole run, this batch included, times
  (1 + b^2/s^2), by which the squared error exceeds the one asked for.

Limits: real noise moves the minimum a little, most on devices of little success; b is a prediction that ranks
devices better than it measures them. Free devices tie at zero; the smaller predicted error breaks every tie,
then time. What tells no errors is last wherever a policy weighs them, at any price.

`explore_exploit` walks cheaply far from the optimum and finishes on the best device, as Qoncord does (MICRO
2024). `ensemble` shares a batch by the inverse of the predicted mean square errors, after EQC (ISCA 2022).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from backends.dispatch.candidate import Candidate, RoutingRequest
from shotwise.words import duration

Score = tuple[float, ...]
Policy = Callable[[Candidate, RoutingRequest], Score]

EXPLOIT_FROM = 0.7
"""Share of the iterations after which `explore_exploit` turns to the best device."""
SHARING_DEVICES_MAX = 3
SPLIT_SAVES_MIN = 0.2
"""Share of the time that one device more must save `fastest` to be worth its fees."""
_RATIO_MAX = 1e100


class Criterion(NamedTuple):
    """What one entry of a score is, in words: a text with a place for the value, and the value's unit.

    Attributes:
        told: the value as it is put there.
    """

    text: str
    unit: float = 1.0
    told: Callable[[float], object] = float

    def of(self, value: float) -> str:
        return self.text.format(self.told(value / self.unit))


COST = Criterion("costs ${:,.2f}", 1e6)
PRECISION = Criterion("${:,.2f} for the precision asked for", 1e6)
WORTH = Criterion("${:,.2f} for the run, weighted by its squared error", 1e6)
ERROR = Criterion("expected error {:.2g}")
TIME = Criterion("takes {}", told=duration)
WAIT = Criterion("waits {}", told=duration)
QUEUE = Criterion("{:.0f} jobs wait")
FAILURE = Criterion("a shot fails with probability {:.3f}")


def cheapest(candidate: Candidate, request: RoutingRequest) -> Score:
    """Least expected cost; among equals the smaller error."""
    return (candidate.cost_micro_usd, candidate.error, candidate.time_s)


def fastest(candidate: Candidate, request: RoutingRequest) -> Score:
    """Soonest result; where devices that share the shots end sooner, they do (see `shares`)."""
    return (candidate.time_s, candidate.error, candidate.cost_micro_usd)


def least_busy(candidate: Candidate, request: RoutingRequest) -> Score:
    """Shortest queue."""
    return (candidate.waiting_jobs, candidate.wait_s, candidate.error)


def best_fidelity(candidate: Candidate, request: RoutingRequest) -> Score:
    """Highest predicted success, whatever it costs."""
    return (1.0 - candidate.success, candidate.cost_micro_usd, candidate.time_s)


def balanced(candidate: Candidate, request: RoutingRequest) -> Score:
    """Least expected cost for the error asked for; see the module's text."""
    if not request.final:
        return (candidate.precise_micro_usd, candidate.error, candidate.time_s)
    excess = 1.0 + min(candidate.bias / (candidate.std_error or 1.0), _RATIO_MAX) ** 2
    whole = request.micro_usd_spent + candidate.cost_micro_usd
    return (whole * excess, candidate.error, candidate.time_s)


def explore_exploit(candidate: Candidate, request: RoutingRequest) -> Score:
    """Cheap devices first, the best one to finish."""
    return (cheapest if _explores(request) else best_fidelity)(candidate, request)


def _explores(request: RoutingRequest) -> bool:
    return request.progress < EXPLOIT_FROM


def ensemble(candidate: Candidate, request: RoutingRequest) -> Score:
    """Smallest predicted error; the best few share the batch (see `shares`)."""
    return (candidate.error, candidate.cost_micro_usd, candidate.time_s)


POLICIES: dict[str, Policy] = {
    "balanced": balanced,
    "cheapest": cheapest,
    "fastest": fastest,
    "least_busy": least_busy,
    "best_fidelity": best_fidelity,
    "explore_exploit": explore_exploit,
    "ensemble": ensemble,
}


def weighs_quality(policy: str, request: RoutingRequest) -> bool:
    """Whether a policy's first question is of a device's errors, or of a price that depends on them."""
    if policy == "explore_exploit":
        return not _explores(request)
    return policy not in ("cheapest", "fastest", "least_busy")


def criteria(policy: str, request: RoutingRequest) -> tuple[Criterion, ...]:
    """What the entries of a policy's scores are, in order."""
    match policy:
        case "cheapest":
            return COST, ERROR, TIME
        case "fastest":
            return TIME, ERROR, COST
        case "least_busy":
            return QUEUE, WAIT, ERROR
        case "best_fidelity":
            return FAILURE, COST, TIME
        case "explore_exploit":
            return criteria("cheapest" if _explores(request) else "best_fidelity", request)
        case "ensemble":
            return ERROR, COST, TIME
        case _:
            return WORTH if request.final else PRECISION, ERROR, TIME


def shares(
    policy: str, ranked: Sequence[Candidate], request: RoutingRequest
) -> tuple[tuple[str, float], ...]:
    """How a batch is split over the ranked candidates: whole to the first, but for two policies."""
    if policy == "ensemble":
        alike = [candidate for candidate in ranked if candidate.uncalibrated == ranked[0].uncalibrated]
        chosen = alike[:SHARING_DEVICES_MAX]
        while len(chosen) > 1 and not _affords(chosen, request):
            chosen.pop()
        return _in_proportion(chosen, [1.0 / max(candidate.error**2, 1e-30) for candidate in chosen])
    if policy == "fastest":
        return _soonest(ranked, request)
    return ((ranked[0].device, 1.0),)


def _soonest(ranked: Sequence[Candidate], request: RoutingRequest) -> tuple[tuple[str, float], ...]:
    """Shares that end together, over as many of the quickest devices as still save a good part of the time.

    Each device measures every circuit with its share of the shots, so its running time goes with its share
    and its wait does not: shares (T - wait) / run add to 1 at the time T when all end.
    """
    chosen, ends_s = list(ranked[:1]), ranked[0].time_s
    for candidate in ranked[1:SHARING_DEVICES_MAX]:
        more = [*chosen, candidate]
        if min(c.run_s for c in more) <= 0.0 or not _affords(more, request):
            break
        together_s = (1.0 + sum(c.wait_s / c.run_s for c in more)) / sum(1.0 / c.run_s for c in more)
        if together_s > (1.0 - SPLIT_SAVES_MIN) * ends_s or together_s <= candidate.wait_s:
            break
        chosen, ends_s = more, together_s
    if len(chosen) == 1:
        return ((chosen[0].device, 1.0),)
    return _in_proportion(chosen, [(ends_s - c.wait_s) / c.run_s for c in chosen])


def _affords(chosen: Sequence[Candidate], request: RoutingRequest) -> bool:
    left = request.micro_usd_left
    return left is None or sum(c.cost_micro_usd_max for c in chosen) <= left


def _in_proportion(chosen: Sequence[Candidate], weights: Sequence[float]) -> tuple[tuple[str, float], ...]:
    return tuple((c.device, weight / sum(weights)) for c, weight in zip(chosen, weights, strict=True))
