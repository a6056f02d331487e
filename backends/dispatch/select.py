"""The dispatcher: drop what cannot run the batch, score the rest, say why. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from backends.dispatch.candidate import Candidate, Decision, RoutingRequest, ScoredCandidate
from backends.dispatch.policies import POLICIES, Criterion, Score, criteria, shares, weighs_quality
from shotwise.errors import CannotRunError, UnreachableError


def select(candidates: Sequence[Candidate], request: RoutingRequest, policy: str) -> Decision:
    """Route a batch.

    Args:
        policy: a key of `POLICIES`, or ``single:<device>``.

    Raises:
        CannotRunError: no candidate can take the batch; names the nearest reason.
        UnreachableError: one might, but gives no usable answer now.
    """
    only = policy.removeprefix("single:") if policy.startswith("single:") else None
    score_of = POLICIES["balanced" if only else policy]
    refused = [(c, why) for c in candidates if (why := _refusal(c, request, only))]
    lost = {id(c) for c, _ in refused}
    weighed = weighs_quality(policy, request)
    scored = sorted(
        ((score_of(c, request), c.device, c) for c in candidates if id(c) not in lost),
        key=lambda row: (weighed and row[2].uncalibrated, *row[:2]),
    )
    if not scored:
        silent = any(c.silent and why == c.refusal for c, why in refused)
        raise (UnreachableError if silent else CannotRunError)(
            "execution.device" if only else "execution.policy",
            only or policy,
            f"no device can take this batch: {_summary(refused, only)}",
            "use another device" if only else "allow other devices",
        )
    route = shares(policy, [candidate for _, _, candidate in scored], request)
    chosen = {device for device, _ in route}
    best = scored[0]
    told = criteria(policy, request)
    ranked = []
    for score, device, c in scored:
        if device in chosen:
            why = "chosen"
        elif weighed and c.uncalibrated and not best[2].uncalibrated:
            why = "no calibration: nothing is known of its errors"
        else:
            why = _why_lost(told, score, best[0], best[1])
        ranked.append(ScoredCandidate(c, score[0], why))
    ranked += [ScoredCandidate(c, None, why) for c, why in refused]
    return Decision(policy, route, tuple(ranked), request)


def _refusal(candidate: Candidate, request: RoutingRequest, only: str | None) -> str | None:
    if only is not None and candidate.device != only:
        return f"the policy allows only {only}"
    if candidate.refusal is not None:
        return candidate.refusal
    left = request.micro_usd_left
    if left is not None and candidate.cost_micro_usd_max > left:
        return f"worst case ${candidate.cost_micro_usd_max / 1e6:.2f} is above the ${left / 1e6:.2f} left"
    return None


def _why_lost(told: Sequence[Criterion], score: Score, best: Score, winner: str) -> str:
    for criterion, mine, theirs in zip(told, score, best, strict=True):
        if mine != theirs:
            return f"{criterion.of(mine)}, {winner} {criterion.of(theirs)}"
    return f"equal to {winner}, which comes first by name"


def _summary(refused: Sequence[tuple[Candidate, str]], only: str | None) -> str:
    reasons = [
        why if candidate.device == only else f"{candidate.device}: {why}"
        for candidate, why in refused
        if only in (None, candidate.device)
    ]
    reasons = list(dict.fromkeys(reasons)) or ["none is configured"]
    return "; ".join(reasons[:3]) + (f"; and {len(reasons) - 3} more" if len(reasons) > 3 else "")
