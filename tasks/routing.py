"""Where a batch goes: devices that may not be used, the decision, and whether the budget has room for it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import NamedTuple

from backends.dispatch import Decision, Question, select
from ledger import Currency, Database, DeviceHealth, Ledger, decisions_of
from measurement import ExecutionPlan
from shotwise.errors import CannotRunError, NoRoomError, UnreachableError
from tasks.batch_numbers import is_final
from tasks.durable import Buyer
from tasks.evaluate import plan_iteration
from tasks.health import unfit
from tasks.mitigation import calibration_quote_micro_usd, priced
from tasks.prepare import Prepared
from tasks.result import final_plan
from tasks.state import LoopState, initial


def question_of(prepared: Prepared, buyer: Buyer, state: LoopState) -> Question:
    """How far the run is, and what the tightest budget above it still allows."""
    levels = buyer.book.account.split("/")
    ledger = Ledger(buyer.book.lease.database)
    balances = [ledger.balance("/".join(levels[: depth + 1])) for depth in range(len(levels))]
    rooms = [balance.left(Currency.MICRO_USD) for balance in balances]
    return Question(
        progress=state.iteration / max(prepared.iterations_max, 1),
        micro_usd_spent=state.cost_micro_usd,
        micro_usd_left=min((room for room in rooms if room is not None), default=None),
    )


NOTHING: Mapping[str, str] = MappingProxyType({})


def decide(
    prepared: Prepared, plan: ExecutionPlan, question: Question, without: Mapping[str, str] = NOTHING
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
        else priced(prepared, c, plan)
        for c in fleet.candidates(plan, prepared.grouping, prepared.problem.hamiltonian)
    ]
    return select(candidates, question, prepared.policy)


def set_aside(prepared: Prepared, database: Database) -> dict[str, str]:
    """Devices that are not to be used now, each with the reason.

    A quarantine holds for everybody; what recent jobs say against a device does not hold for a run whose
    spec names it alone.
    """
    if prepared.fleet is None:
        return {}
    routed = not prepared.policy.startswith("single:")
    return (unfit(database, prepared.fleet_names) if routed else {}) | quarantined(database)


def quarantined(database: Database) -> dict[str, str]:
    """Devices that a calibration flow or a person took out of use, with the reason."""
    return {name: f"quarantined: {why}" for name, why in DeviceHealth(database).quarantined().items()}


def predicted_bias(database: Database, run_id: str) -> float | None:
    """The largest |bias| that a device was predicted to have of those which the reported energy was sent to.

    None where nothing was routed, or no final evaluation was.
    """
    biases = []
    for *_, text in (row for row in decisions_of(database, run_id) if is_final(row[1])):
        decision = json.loads(text)
        used = {device for device, _ in decision["route"]}
        candidates = (verdict["candidate"] for verdict in decision["verdicts"])
        biases += [candidate["bias"] for candidate in candidates if candidate["device"] in used]
    return max(biases, default=None)


def check_can_start(prepared: Prepared, ledger: Ledger) -> None:
    """Refuse a routed run that could not take its first step, before anything is entered.

    Raises:
        CannotRunError: no device can take its batches.
        NoRoomError: a budget has no room for one iteration and the final evaluation in the worst case.
    """
    if prepared.fleet is None:
        return
    state = initial(prepared)
    plan = plan_iteration(prepared, state)
    payer, usd = prepared.spec.account, prepared.spec.budget.usd
    known = {balance.account: balance.left(Currency.MICRO_USD) for balance in ledger.balances()}
    rooms = {
        "budget.usd": None if usd is None else round(usd * 1_000_000),
        f"budget of {payer.tenant}": known.get(payer.tenant),
        f"budget of {payer.tenant}/{payer.project}": known.get(f"{payer.tenant}/{payer.project}"),
    }
    limits = {name: room for name, room in rooms.items() if room is not None}
    without = set_aside(prepared, ledger.database)
    if not limits:
        decide(prepared, plan, Question(), without)
        return
    name, room = min(limits.items(), key=lambda limit: limit[1])
    if not fits(prepared, state, plan, Question(micro_usd_left=room), without):
        raise NoRoomError(
            name,
            f"${room / 1e6:.2f} left",
            "no device takes one iteration and the final evaluation for that in the worst case",
            "raise it or lower execution.shots; `shotwise plan` lists what each device would cost",
        )


class Begun(NamedTuple):
    """Whether an earlier process bought at an iteration: for its step, for the final evaluation there.

    A step that was begun is gone on with, being reserved and maybe paid; a final one that was begun is the
    run's end.
    """

    step: bool
    final: bool


def begun(buyer: Buyer, iteration: int) -> Begun:
    """What was begun at an iteration."""
    kinds = {is_final(batch) for batch in buyer.book.spent(iteration)}
    return Begun(step=False in kinds, final=True in kinds)


def fits_budget(prepared: Prepared, buyer: Buyer, state: LoopState, plan: ExecutionPlan) -> bool:
    """Whether the worst case of the next batch and of the final evaluation fits what is left."""
    without = set_aside(prepared, buyer.book.lease.database)
    question = question_of(prepared, buyer, state)
    return buyer.patiently(lambda: fits(prepared, state, plan, question, without))


def fits(
    prepared: Prepared, state: LoopState, plan: ExecutionPlan, question: Question, without: Mapping[str, str]
) -> bool:
    """Whether a step is affordable without spending what the final evaluation is to cost.

    The final evaluation decides what the run reports, so the device that the policy wants for it is kept
    affordable; only a run that has measured nothing yet makes do with a cheaper one.

    Raises:
        CannotRunError: no device can take the step, whatever the budget.
        UnreachableError: one might, but gives no usable answer now.
    """
    left = question.micro_usd_left
    if left is None:
        return True
    final = final_plan(prepared, state)
    try:
        decision = decide(prepared, plan, question, without)
        rest = left - worst_case_micro_usd(decision)
        if state.iteration == 0:
            rest -= calibration_quote_micro_usd(prepared, decision.devices, plan)
        wanted = worst_case_micro_usd(decide(prepared, final, finally_asked(question), without))
        if wanted <= rest:
            return True
        if state.iteration > 0:
            return False
        decide(prepared, final, finally_asked(replace(question, micro_usd_left=rest)), without)
    except UnreachableError:
        raise
    except CannotRunError:
        decide(prepared, plan, replace(question, micro_usd_left=None), without)
        return False
    return True


def finally_asked(question: Question) -> Question:
    """What is asked of the fleet where the final evaluation is routed."""
    return replace(question, progress=1.0, final=True)


def worst_case_micro_usd(decision: Decision) -> int:
    """What a decision's route reserves at most."""
    return sum(verdict.candidate.cost_micro_usd_max for verdict in decision.chosen)
