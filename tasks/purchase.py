"""Routing a batch over the fleet and buying it: decisions entered first, failover in mid-iteration."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import partial
from types import MappingProxyType
from typing import TypeVar

import numpy as np

from backends.catalog import join_outcomes, split_plan
from backends.dispatch import Decision, Question, select
from ledger import BudgetExceededError, Currency, Database, DeviceHealth, JobBook, Lease, Ledger
from measurement import SHOTS_PER_GROUP_MIN, ExecutionPlan, Outcome
from measurement.mitigation import Piece, ReadoutErrors, undone
from shotwise.errors import CannotRunError, UnreachableError
from tasks.durable import Buyer, DeviceGaveUpError
from tasks.evaluate import Measured, plan_iteration
from tasks.health import unfit
from tasks.mitigation import Mitigated, calibration_quote_micro_usd, priced
from tasks.prepare import Prepared
from tasks.result import final_plan
from tasks.state import LoopState, initial
from tasks.telemetry import span
from tasks.treatment import Applied, treat, treat_as

R = TypeVar("R")

_LEG_BATCHES = 100_000
"""Batch numbers of one leg; a leg is a device's part of a plan."""
_FINAL_LEGS = 1_000
FINAL_BATCHES = _FINAL_LEGS * _LEG_BATCHES
"""Batches from this number on belong to the final evaluation."""


def open_buyer(
    prepared: Prepared,
    lease: Lease,
    *,
    hold: Callable[[str], AbstractContextManager[object]],
    sleep: Callable[[float], None],
) -> Buyer | None:
    """What buys for a run, its account opened with the spec's budget; None where nothing costs.

    Args:
        hold: takes a device's slot while a job of it is out.
        sleep: waits; may raise to leave what is in flight to another.
    """
    if prepared.fleet is None:
        return None
    budget, payer = prepared.spec.budget, prepared.spec.account
    account = f"{payer.tenant}/{payer.project}/{lease.run_id}"
    ledger = Ledger(lease.database)
    ledger.open_account(account)
    micro_usd = None if budget.usd is None else int(Decimal(str(budget.usd)) * 1_000_000)
    balance = ledger.balance(account)
    if (balance.limit(Currency.SHOTS), balance.limit(Currency.MICRO_USD)) != (budget.shots, micro_usd):
        ledger.set_limit(account, shots=budget.shots, micro_usd=micro_usd, note="spec")
    return Buyer(JobBook(lease, account), prepared.fleet, sleep=sleep, hold=hold)


def question_of(prepared: Prepared, buyer: Buyer, state: LoopState) -> Question:
    """How far the run is, and what the tightest budget above it still allows."""
    levels = buyer.book.account.split("/")
    ledger = Ledger(buyer.book.lease.database)
    balances = [ledger.balance("/".join(levels[: depth + 1])) for depth in range(len(levels))]

    def left(currency: Currency) -> int | None:
        return min((room for b in balances if (room := b.left(currency)) is not None), default=None)

    return Question(
        progress=state.iteration / max(prepared.iterations_max, 1),
        micro_usd_spent=state.cost_micro_usd,
        micro_usd_left=left(Currency.MICRO_USD),
        shots_left=left(Currency.SHOTS),
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


def check_can_start(prepared: Prepared, ledger: Ledger) -> None:
    """Refuse a routed run that could not take its first step, before anything is entered.

    Raises:
        CannotRunError: no device can take its batches, or a budget has no room for one iteration and the
            final evaluation in the worst case.
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
        raise CannotRunError(
            name,
            f"${room / 1e6:.2f} left",
            "no device takes one iteration and the final evaluation for that in the worst case",
            "raise it or lower execution.shots; `shotwise plan` lists what each device would cost",
        )


def fits_budget(prepared: Prepared, buyer: Buyer, state: LoopState, plan: ExecutionPlan) -> bool:
    """Whether the worst case of the next batch and of the final evaluation fits what is left.

    A batch that an earlier process began is always gone on with: it is reserved, and may be paid.
    """
    if buyer.book.attempts(state.iteration, 0):
        return True
    without = set_aside(prepared, buyer.book.lease.database)
    question = question_of(prepared, buyer, state)
    return buyer.patiently(lambda: fits(prepared, state, plan, question, without), UnreachableError)


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


def purchase(
    prepared: Prepared, buyer: Buyer, iteration: int, plan: ExecutionPlan, question: Question, *, final: bool
) -> Measured:
    """Buy a plan's shots, all of them, wherever they can be had.

    Raises:
        BudgetExceededError: a limit has no room for the next job; what was bought stays in the journal.
        CannotRunError: no device is left that can take it.
    """
    question = finally_asked(question) if final else question
    first_leg = _FINAL_LEGS if final else 0
    decision = _Legs(prepared, buyer, iteration, question, first_leg).decision(plan, ())
    shared = _shared(plan, decision.route)
    # Shares count their legs in turn, so that none meets another's however often it goes elsewhere.
    walks = [
        _Legs(prepared, buyer, iteration, question, first_leg + at, len(shared)) for at in range(len(shared))
    ]
    measured = at_once(
        [partial(legs.measure, device, part) for legs, (device, part) in zip(walks, shared, strict=True)]
    )
    mitigated = tuple(treated for _, _, treated in measured)
    return Measured(
        tuple((part, outcome) for part, outcome, _ in measured),
        sum(legs.shots for legs in walks),
        sum(legs.cost_micro_usd for legs in walks),
        mitigated if any(mitigated) else (),
    )


def at_once(calls: Sequence[Callable[[], R]]) -> list[R]:
    """What calls return, each in a thread of its own; the first one's exception once all have ended."""
    if len(calls) == 1:
        return [calls[0]()]
    with ThreadPoolExecutor(len(calls)) as threads:
        futures = [threads.submit(copy_context().run, call) for call in calls]
    return [future.result() for future in futures]


@dataclass(frozen=True, eq=False)
class _Part:
    """What one job of a leg brought."""

    device: str
    leg: int
    plan: ExecutionPlan
    outcome: Outcome


@dataclass
class _Legs:
    """The legs of one share of a purchase, numbered as the journal has them, so a resumed run finds them."""

    prepared: Prepared
    buyer: Buyer
    iteration: int
    question: Question
    next_leg: int
    stride: int = 1
    cost_micro_usd: int = 0
    shots: int = 0
    bought: list[_Part] = field(default_factory=list)

    def measure(self, device: str, plan: ExecutionPlan) -> tuple[ExecutionPlan, Outcome, Mitigated | None]:
        """One device's part, mitigated where the spec asks for it: what one copy gave, and all that ran."""
        applied = treat(self.prepared, self.buyer, self.iteration, self.next_leg, device, plan)
        if applied is None:
            return plan, self.buy(device, plan, ()), None
        self._add(applied)
        expanded, first = applied.treatment.expand(plan), len(self.bought)
        outcome = self.buy(device, expanded, ())
        errors: dict[str, ReadoutErrors] = {device: applied.errors}
        for part in self.bought[first:]:
            if part.device not in errors:
                errors[part.device] = self._taken_over(part, applied)
        pieces = tuple(Piece(part.plan, part.outcome, errors[part.device]) for part in self.bought[first:])
        return *undone(plan, expanded, outcome), Mitigated(applied.treatment, pieces, applied.reason)

    def _taken_over(self, part: _Part, like: Applied) -> ReadoutErrors:
        applied = treat_as(self.prepared, self.buyer, self.iteration, part.leg, part.device, part.plan, like)
        self._add(applied)
        return applied.errors

    def _add(self, applied: Applied) -> None:
        self.shots += applied.bought.shots
        self.cost_micro_usd += applied.bought.micro_usd

    def decision(self, plan: ExecutionPlan, without: Sequence[str]) -> Decision:
        """The decision that the next leg begins with: the entered one, or a new one that is entered now."""
        batch = self.next_leg * _LEG_BATCHES
        book = self.buyer.book
        kept = book.decision(self.iteration, batch, 0)
        if kept is not None:
            return _restored(kept)
        reasons = set_aside(self.prepared, book.lease.database)
        names = self.prepared.fleet_names
        reasons |= {name: "failed again and again" for name in names if self.buyer.breaker.is_open(name)}
        reasons |= dict.fromkeys(without, "failed in this iteration")
        began = time.perf_counter_ns()
        with span("route", book.lease.run_id, iteration=self.iteration, policy=self.prepared.policy):
            decision = self.buyer.patiently(lambda: self._decide(plan, reasons), UnreachableError)
        took_us = (time.perf_counter_ns() - began) // 1000
        book.decide(self.iteration, batch, 0, decision.to_json(), took_us)
        return decision

    def _decide(self, plan: ExecutionPlan, without: Mapping[str, str]) -> Decision:
        """As `decide`; what only the budget forbids, since others spent of it, is a matter of the budget.

        Raises:
            BudgetExceededError: some device could take the plan, and what is left pays for none.
        """
        left = self.question.micro_usd_left
        try:
            return decide(self.prepared, plan, self.question, without)
        except UnreachableError:
            raise
        except CannotRunError:
            if left is None:
                raise
        dear = decide(self.prepared, plan, replace(self.question, micro_usd_left=None), without)
        asked = worst_case_micro_usd(dear)
        raise BudgetExceededError(self.buyer.book.account, Currency.MICRO_USD, asked, left)

    def buy(self, device: str, plan: ExecutionPlan, failed: tuple[str, ...]) -> Outcome:
        """One device's part, in as many jobs as its limits ask for; the rest elsewhere if it gives up."""
        fleet = self.prepared.fleet
        assert fleet is not None
        leg, self.next_leg = self.next_leg, self.next_leg + self.stride
        batches = split_plan(plan, fleet.description(device))
        outcomes: list[Outcome] = []
        for at, batch in enumerate(batches):
            try:
                bought = self.buyer.buy(self.iteration, leg * _LEG_BATCHES + at, device, batch.plan)
            except DeviceGaveUpError as error:
                outcomes += self._elsewhere([b.plan for b in batches[at:]], (*failed, device), error)
                break
            self.cost_micro_usd += bought.cost_micro_usd
            self.shots += bought.shots
            outcomes.append(bought.outcome)
            self.bought.append(_Part(device, leg, batch.plan, bought.outcome))
        return join_outcomes(plan, batches, outcomes)

    def _elsewhere(
        self, plans: list[ExecutionPlan], failed: tuple[str, ...], error: DeviceGaveUpError
    ) -> list[Outcome]:
        outcomes = []
        for plan in plans:
            try:
                decision = self.decision(plan, failed)
            except BudgetExceededError:
                raise
            except CannotRunError:
                raise error from None
            outcomes.append(self.buy(decision.devices[0], plan, failed))
        return outcomes


def _shared(plan: ExecutionPlan, route: Sequence[tuple[str, float]]) -> list[tuple[str, ExecutionPlan]]:
    """The plan's shots split over devices; each measures every group, so each gives whole energies."""
    if len(route) == 1:
        return [(route[0][0], plan)]
    return [
        (
            device,
            replace(
                plan,
                shots=np.maximum((plan.shots * share).astype(np.int64), SHOTS_PER_GROUP_MIN),
                seed=(*plan.seed, 2_000_000 + at),
            ),
        )
        for at, (device, share) in enumerate(route)
    ]


def _restored(decision_json: str) -> Decision:
    """An entered decision, as far as it is acted upon."""
    raw = json.loads(decision_json)
    return Decision(raw["policy"], tuple((device, share) for device, share in raw["route"]), ())
