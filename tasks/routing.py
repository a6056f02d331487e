"""Where a batch goes: devices that may not be used, the decision, and whether the budget has room for it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from backends.dispatch import Candidate, Decision, RoutingRequest, select
from ledger import BatchId, Currency, Database, DeviceHealth, Ledger, decisions_of, dollars
from measurement import SHOTS_PER_GROUP_MIN, ExecutionPlan
from shotwise.errors import CannotRunError, NoRoomError, UnreachableError
from tasks.durable import Buyer
from tasks.evaluate import plan_iteration
from tasks.health import unhealthy_devices
from tasks.mitigation import calibration_quote, with_mitigation
from tasks.patience import ask_before_start
from tasks.prepared import Prepared
from tasks.result import final_plan
from tasks.state import LoopState, at_end, initial


def routing_request(prepared: Prepared, buyer: Buyer, state: LoopState) -> RoutingRequest:
    """How far the run is, and what the tightest budget above it still allows."""
    available = Ledger(buyer.book.lease.database).available(buyer.book.account, Currency.MICRO_USD)
    return RoutingRequest(
        progress=state.iteration / max(prepared.iterations_max, 1),
        micro_usd_spent=state.cost_micro_usd,
        micro_usd_left=min(available.values(), default=None),
    )


NOTHING: Mapping[str, str] = MappingProxyType({})
_SHARE_BRANCH = 2_000_000
"""From here on a plan's seed branches by the share of a device."""


def decide(
    prepared: Prepared, plan: ExecutionPlan, request: RoutingRequest, without: Mapping[str, str] = NOTHING
) -> Decision:
    """Route a plan by the spec's policy.

    Args:
        without: devices that are not to be used, each with the reason.

    Raises:
        CannotRunError: no device can take it.
        UnreachableError: one might, but gives no usable answer now.
    """
    fleet = prepared.fleet
    assert fleet is not None, "only routed runs decide"
    candidates = [
        replace(c, refusal=without[c.device], silent=False)
        if c.device in without
        else with_mitigation(prepared, c, plan)
        for c in fleet.candidates(plan, prepared.grouping, prepared.problem.hamiltonian)
    ]
    return select(candidates, request, prepared.policy)


def excluded_devices(prepared: Prepared, database: Database) -> dict[str, str]:
    """Devices that are not to be used now, each with the reason.

    A quarantine holds for everybody; what recent jobs say against a device does not hold for a run whose
    spec names it alone.
    """
    if prepared.fleet is None:
        return {}
    routed = not prepared.policy.startswith("single:")
    return (unhealthy_devices(database, prepared.fleet_names) if routed else {}) | quarantined(database)


def quarantined(database: Database) -> dict[str, str]:
    """Devices that a calibration flow or a person took out of use, with the reason."""
    return {name: f"quarantined: {why}" for name, why in DeviceHealth(database).quarantined().items()}


def predicted_bias(database: Database, run_id: str) -> float | None:
    """The largest |bias| that a device was predicted to have of those which the reported energy was sent to.

    None where nothing was routed, or no final evaluation was.
    """
    biases = [candidate.bias for candidate in _reporting(database, run_id)]
    return max(filter(math.isfinite, biases), default=None)


def uncalibrated_devices(database: Database, run_id: str) -> list[str]:
    """Of those which the reported energy was sent to, devices whose errors nothing was known of."""
    return sorted({c.device for c in _reporting(database, run_id) if c.uncalibrated})


def _reporting(database: Database, run_id: str) -> list[Candidate]:
    """The devices that the reported energy was sent to, as they were predicted."""
    texts = [text for _, batch, _, text in decisions_of(database, run_id) if BatchId.from_number(batch).final]
    return [scored.candidate for text in texts for scored in Decision.from_json(text).chosen]


def check_can_start(prepared: Prepared, ledger: Ledger) -> None:
    """Refuse a routed run that could not take its first step, before anything is entered.

    Raises:
        CannotRunError: no device can take its batches.
        UnreachableError: one might, but gives no usable answer for longer than a moment.
        NoRoomError: a budget has no room for one iteration and the final evaluation in the worst case.
    """
    if prepared.fleet is None:
        return
    state = initial(prepared)
    plan = plan_iteration(prepared, state)
    _check_shots(prepared, ledger, plan.shots_total + final_plan(*at_end(prepared, state)).shots_total)
    limits = money_limits(prepared, ledger)
    without = excluded_devices(prepared, ledger.database)
    if not limits:
        ask_before_start(lambda: decide(prepared, plan, RoutingRequest(), without))
        return
    name, left = min(limits.items(), key=lambda limit: limit[1])
    request = RoutingRequest(micro_usd_left=left)
    if not ask_before_start(lambda: fits(prepared, state, plan, request, without)):
        problem = "no device takes one iteration and the final evaluation for that in the worst case"
        more = "; `shotwise plan` lists what each device would cost"
        raise no_room(prepared, name, f"{dollars(left)} left", problem, more)


def _check_shots(prepared: Prepared, ledger: Ledger, need: int) -> None:
    """Refuse a run whose tenant or project has too few shots left, as where it is frozen."""
    payer = prepared.spec.account
    available = ledger.available(f"{payer.tenant}/{payer.project}", Currency.SHOTS)
    account, left = min(available.items(), key=lambda limit: limit[1], default=("", need))
    if left < need:
        problem = f"one iteration and the final evaluation take {need:,} shots"
        raise no_room(prepared, f"budget of {account}", f"{left:,} shots left", problem)


def money_limits(prepared: Prepared, ledger: Ledger | None) -> dict[str, int]:
    """Micro-USD that each limit leaves a new run, by what an error calls the limit.

    Args:
        ledger: None to look at the run's own budget alone.
    """
    payer, micro_usd = prepared.spec.account, prepared.spec.budget.micro_usd
    limits = {} if micro_usd is None else {"budget.usd": micro_usd}
    if ledger is None:
        return limits
    available = ledger.available(f"{payer.tenant}/{payer.project}", Currency.MICRO_USD)
    return limits | {f"budget of {account}": left for account, left in available.items()}


def no_room(prepared: Prepared, name: str, left: str, problem: str, more: str = "") -> NoRoomError:
    """A limit that leaves too little, and what to do about it."""
    fixed = prepared.shots_execution.shots is not None
    cheaper = "lower execution.shots" if fixed else "raise execution.target_std_error"
    return NoRoomError(name, left, problem, f"raise it or {cheaper}{more}")


class StartedPurchases(NamedTuple):
    """Whether an earlier process bought at an iteration: for its step, for the final evaluation there.

    A step that was started is gone on with, being reserved and maybe paid; a final one is the
    run's end.
    """

    step: bool
    final: bool


def started_purchases(buyer: Buyer, iteration: int) -> StartedPurchases:
    """What was started at an iteration."""
    kinds = {batch.final for batch in buyer.book.spent(iteration)}
    return StartedPurchases(step=False in kinds, final=True in kinds)


def fits_budget(
    prepared: Prepared, buyer: Buyer, state: LoopState, plan: ExecutionPlan, *, finals: int = 1
) -> bool:
    """Whether the worst case of the next batch and of the final evaluation fits what is left; see `fits`."""
    without = excluded_devices(prepared, buyer.book.lease.database)
    request = routing_request(prepared, buyer, state)
    return buyer.with_retries(lambda: fits(prepared, state, plan, request, without, finals=finals))


def step_request(
    prepared: Prepared, buyer: Buyer, state: LoopState, request: RoutingRequest
) -> RoutingRequest:
    """As `with_final_reserved`; the request as it is where no device can take the final evaluation now."""
    without = excluded_devices(prepared, buyer.book.lease.database)
    try:
        return buyer.with_retries(lambda: with_final_reserved(prepared, state, request, without))
    except UnreachableError:
        raise
    except CannotRunError:
        return request


def fits(
    prepared: Prepared,
    state: LoopState,
    plan: ExecutionPlan,
    request: RoutingRequest,
    without: Mapping[str, str],
    *,
    finals: int = 1,
) -> bool:
    """Whether a step is affordable without spending what the final evaluation is to cost.

    The final evaluation decides what the run reports, so the device that the policy wants for it is kept
    affordable; only a run that has measured nothing yet makes do with a cheaper one.

    Args:
        finals: how many times what it is planned to cost is kept.

    Raises:
        CannotRunError: no device can take the step, whatever the budget.
        UnreachableError: one might, but gives no usable answer now.
    """
    left = request.micro_usd_left
    if left is None:
        return True
    last, end = at_end(prepared, state)
    final = final_plan(last, end)
    try:
        decision = decide(prepared, plan, with_final_reserved(prepared, state, request, without), without)
        rest = left - worst_case_micro_usd(prepared, plan, decision)
        if state.iteration == 0:
            rest -= calibration_quote(prepared, decision.devices, plan).micro_usd
        wanted = worst_case_micro_usd(last, final, decide(last, final, final_request(request), without))
        if finals * wanted <= rest:
            return True
        if state.iteration > 0:
            return False
        decide(last, final, final_request(replace(request, micro_usd_left=rest)), without)
    except UnreachableError:
        raise
    except CannotRunError:
        decide(prepared, plan, replace(request, micro_usd_left=None), without)
        return False
    return True


def with_final_reserved(
    prepared: Prepared, state: LoopState, request: RoutingRequest, without: Mapping[str, str]
) -> RoutingRequest:
    """The request of a step: what the cheapest final evaluation takes is not left to be spent on it."""
    left = request.micro_usd_left
    if left is None:
        return request
    unbounded = final_request(replace(request, micro_usd_left=None))
    last, end = at_end(prepared, state)
    scored = decide(last, final_plan(last, end), unbounded, without).candidates
    cheapest = min(v.candidate.cost_micro_usd_max for v in scored if v.score is not None)
    return replace(request, micro_usd_left=max(left - cheapest, 0))


def final_request(request: RoutingRequest) -> RoutingRequest:
    """The request by which the final evaluation is routed."""
    return replace(request, progress=1.0, final=True)


def worst_case_micro_usd(prepared: Prepared, plan: ExecutionPlan, decision: Decision) -> int:
    """What a decision's route reserves at most, each device for its share of the plan."""
    if len(decision.route) == 1:
        return decision.chosen[0].candidate.cost_micro_usd_max
    assert prepared.fleet is not None
    return sum(
        prepared.fleet.quote_micro_usd(device, part) for device, part in split_shots(plan, decision.route)
    )


def split_shots(plan: ExecutionPlan, route: Sequence[tuple[str, float]]) -> list[tuple[str, ExecutionPlan]]:
    """The plan's shots split over devices; each measures every group, so each gives whole energies."""
    if len(route) == 1:
        return [(route[0][0], plan)]
    rows, parts = np.arange(len(plan)), []
    for at, (device, share) in enumerate(route):
        shots = np.maximum((plan.shots * share).astype(np.int64), SHOTS_PER_GROUP_MIN)
        parts.append((device, plan.part(rows, shots, branch=_SHARE_BRANCH + at)))
    return parts
