"""Policies: pure functions from candidates that can take a batch to scores, less being better.

`balanced` is ours: the least expected cost for the error asked for. A run's shots fix the statistical error
that it asks for, s. A device with bias b delivers the mean square error s^2 + b^2; were the bias noise,
reaching s^2 would take (1 + b^2/s^2) times the shots and so the money. That product is the score. Its limit:
shots do not really remove a bias, so where every device is far worse than s it prefers the cheap. Free
devices tie at zero; the smaller predicted error breaks every tie, then time.

`explore_exploit` walks cheaply far from the optimum and finishes on the best device, as Qoncord does (MICRO
2024). `ensemble` shares a batch by the inverse of the predicted mean square errors, after EQC (ISCA 2022).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from backends.dispatch.candidate import Candidate, Question

Score = tuple[float, ...]
Policy = Callable[[Candidate, Question], Score]

EXPLOIT_FROM = 0.7
"""Share of the iterations after which `explore_exploit` turns to the best device."""
ENSEMBLE_DEVICES = 3
_RATIO_MAX = 1e100


def cheapest(candidate: Candidate, question: Question) -> Score:
    """Least expected cost; among equals the smaller error."""
    return (candidate.cost_micro_usd, candidate.error, candidate.time_s)


def fastest(candidate: Candidate, question: Question) -> Score:
    """Soonest result."""
    return (candidate.time_s, candidate.error, candidate.cost_micro_usd)


def least_busy(candidate: Candidate, question: Question) -> Score:
    """Shortest queue."""
    return (candidate.waiting_jobs, candidate.wait_s, candidate.error)


def best_fidelity(candidate: Candidate, question: Question) -> Score:
    """Highest predicted success, whatever it costs."""
    return (1.0 - candidate.success, candidate.cost_micro_usd, candidate.time_s)


def balanced(candidate: Candidate, question: Question) -> Score:
    """Least expected cost for the error asked for; see the module's text."""
    asked = candidate.std_error or 1.0
    excess = 1.0 + min(candidate.bias / asked, _RATIO_MAX) ** 2
    return (candidate.cost_micro_usd * excess, candidate.error, candidate.time_s)


def explore_exploit(candidate: Candidate, question: Question) -> Score:
    """Cheap devices first, the best one to finish."""
    return (cheapest if question.progress < EXPLOIT_FROM else best_fidelity)(candidate, question)


def ensemble(candidate: Candidate, question: Question) -> Score:
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


def shares(policy: str, ranked: Sequence[Candidate]) -> tuple[tuple[str, float], ...]:
    """How a batch is split over the ranked candidates: whole to the first, but for `ensemble`."""
    if policy != "ensemble":
        return ((ranked[0].device, 1.0),)
    chosen = ranked[:ENSEMBLE_DEVICES]
    weights = [1.0 / (candidate.error**2 or 1e-30) for candidate in chosen]
    return tuple((c.device, weight / sum(weights)) for c, weight in zip(chosen, weights, strict=True))
