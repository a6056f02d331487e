"""Buying a plan's shots wherever they can be had: decisions entered first, failover in mid-iteration."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

from backends.catalog import DeviceDescription, join_outcomes, split_plan
from backends.dispatch import Decision, RoutingRequest
from backends.prices import Price
from ledger import (
    BatchId,
    BudgetExceededError,
    Currency,
    JobBook,
    Lease,
    Ledger,
)
from measurement import ExecutionPlan, Outcome
from measurement.mitigation import Piece, ReadoutErrors, unmitigated
from shotwise.errors import CannotRunError, UnreachableError
from tasks.delivery import Delivery, join_deliveries, undelivered
from tasks.durable import Buyer, DeviceGaveUpError
from tasks.evaluate import BatchResult
from tasks.mitigation import MitigatedPart
from tasks.prepared import Prepared
from tasks.routing import decide, excluded_devices, final_request, split_shots, worst_case_micro_usd
from tasks.telemetry import span
from tasks.treatment import AppliedTreatment, Placement, treat, treat_as

R = TypeVar("R")


def open_buyer(
    prepared: Prepared,
    lease: Lease,
    *,
    hold: Callable[[str], AbstractContextManager[object]],
    sleep: Callable[[float], None],
    check_stop: Callable[[], None] = lambda: None,
) -> Buyer | None:
    """What buys for a run, its account opened with the spec's budget; None where nothing costs.

    Args:
        hold: takes a device's slot while a job of it is out.
        sleep: waits; may raise to leave what is in flight to another.
        check_stop: asked before every job; may raise to leave the rest of a batch to another.
    """
    if prepared.fleet is None:
        return None
    budget, account = prepared.spec.budget, prepared.spec.account.of_run(lease.run_id)
    ledger = Ledger(lease.database)
    ledger.open_limited(account, shots=budget.shots, micro_usd=budget.micro_usd, note="spec")
    return Buyer(JobBook(lease, account), prepared.fleet, sleep=sleep, hold=hold, check_stop=check_stop)


def purchase(
    prepared: Prepared,
    buyer: Buyer,
    iteration: int,
    plan: ExecutionPlan,
    request: RoutingRequest,
    *,
    final: bool,
) -> BatchResult:
    """Buy a plan's shots, all of them, wherever they can be had.

    Raises:
        BudgetExceededError: a limit has no room for the next job; what was bought stays in the journal.
        CannotRunError: no device is left that can take it.
    """
    request = final_request(request) if final else request
    first = BatchId(final=final)
    decision = _Placements(prepared, buyer, iteration, request, first).decision(plan, ())
    shared = split_shots(plan, decision.route)
    # Shares count their placements in turn, so that none meets another's however often it goes elsewhere.
    shares = [
        _Placements(prepared, buyer, iteration, request, first.later(at), len(shared))
        for at in range(len(shared))
    ]
    measured = run_concurrently(
        [
            partial(placements.measure, device, part)
            for placements, (device, part) in zip(shares, shared, strict=True)
        ]
    )
    mitigated = tuple(treated for _, _, treated in measured)
    # what the journal says, so that jobs which brought nothing are counted too
    spent = [each for batch, each in buyer.book.spent(iteration).items() if batch.final == final]
    return BatchResult(
        tuple((part, outcome) for part, outcome, _ in measured),
        sum(each.shots for each in spent),
        sum(each.micro_usd for each in spent),
        mitigated if any(mitigated) else (),
    )


def run_concurrently(calls: Sequence[Callable[[], R]]) -> list[R]:
    """What calls return, each in a thread of its own; an exception once all have ended.

    That a budget had no room is the last to be raised of several: it ends a run in order, and any other may
    have left a job out, which only the next drive brings to its end.
    """
    if len(calls) == 1:
        return [calls[0]()]
    with ThreadPoolExecutor(len(calls)) as threads:
        futures = [threads.submit(copy_context().run, call) for call in calls]
    failures = [error for future in futures if (error := future.exception()) is not None]
    if failures:
        raise next((each for each in failures if not isinstance(each, BudgetExceededError)), failures[0])
    return [future.result() for future in futures]


@dataclass(frozen=True, eq=False)
class _Part:
    """What one job of a placement brought."""

    device: str
    plan: ExecutionPlan
    outcome: Outcome


@dataclass
class _Placements:
    """The placements of one share, numbered as the journal has them, so a resumed run finds them."""

    prepared: Prepared
    buyer: Buyer
    iteration: int
    request: RoutingRequest
    next_placement: BatchId
    """Its first batch."""
    stride: int = 1
    bought: list[_Part] = field(default_factory=list)
    applied: AppliedTreatment | None = None
    errors: dict[str, ReadoutErrors] = field(default_factory=dict)
    """Of the devices that take part, where the share is treated."""

    def measure(
        self, device: str, plan: ExecutionPlan, failed: tuple[str, ...] = ()
    ) -> tuple[ExecutionPlan, Outcome, MitigatedPart | None]:
        """One device's part, mitigated where the spec asks for it: what one copy gave, and all that ran."""
        try:
            applied = self.applied = treat(self._placement(device, plan))
        except DeviceGaveUpError as error:
            self.next_placement = self._after_next()
            failed = _failed_now(failed, error)
            return self.measure(self._next_device(plan, failed, error), plan, failed)
        if applied is None:
            return plan, self.buy(device, plan, failed), None
        self.errors[device] = applied.errors
        expanded = applied.treatment.expand(plan)
        outcome = self.buy(device, expanded, failed)
        pieces = tuple(Piece(part.plan, part.outcome, self.errors[part.device]) for part in self.bought)
        return *unmitigated(plan, expanded, outcome), MitigatedPart(applied.treatment, pieces, applied.reason)

    def _placement(self, device: str, plan: ExecutionPlan) -> Placement:
        """The next placement, to be treated."""
        moved_on = self._was_started(self._after_next())
        return Placement(
            self.prepared, self.buyer, self.iteration, self.next_placement, device, plan, moved_on=moved_on
        )

    def decision(self, plan: ExecutionPlan, without: Sequence[str]) -> Decision:
        """The decision that the next placement begins with: the entered one, or a new one, entered now."""
        batch = self.next_placement.number
        book = self.buyer.book
        kept = book.decision(self.iteration, batch, 0)
        if kept is not None:
            return Decision.from_json(kept)
        reasons = excluded_devices(self.prepared, book.lease.database)
        reasons |= dict.fromkeys(without, "failed in this iteration")
        began = time.perf_counter_ns()
        with span("route", book.lease.run_id, iteration=self.iteration, policy=self.prepared.policy):
            decision = self.buyer.with_retries(lambda: self._decide(plan, reasons))
        took_us = (time.perf_counter_ns() - began) // 1000
        book.record_decision(self.iteration, batch, 0, decision.to_json(), took_us)
        return decision

    def _decide(self, plan: ExecutionPlan, without: Mapping[str, str]) -> Decision:
        """As `decide`; what only the budget forbids, since others spent of it, is a matter of the budget.

        Raises:
            BudgetExceededError: some device could take the plan, and what is left pays for none.
        """
        left = self.request.micro_usd_left
        try:
            return decide(self.prepared, plan, self.request, without)
        except UnreachableError:
            raise
        except CannotRunError:
            if left is None:
                raise
        dear = decide(self.prepared, plan, replace(self.request, micro_usd_left=None), without)
        asked = worst_case_micro_usd(self.prepared, plan, dear)
        raise BudgetExceededError(self.buyer.book.account, Currency.MICRO_USD, asked, left)

    def _after_next(self) -> BatchId:
        return self.next_placement.later(self.stride)

    def _was_started(self, placement: BatchId) -> bool:
        """Whether an earlier process came to a placement, which it does when the one before is over."""
        return self.buyer.book.decision(self.iteration, placement.number, 0) is not None

    def buy(self, device: str, plan: ExecutionPlan, failed: tuple[str, ...]) -> Outcome:
        """One device's part, in as many jobs as its limits ask for; the rest elsewhere if it gives up."""
        fleet = self.prepared.fleet
        assert fleet is not None
        placement, self.next_placement = self.next_placement, self._after_next()
        moved_on = self._was_started(self.next_placement)
        batches = split_plan(plan, self._as_bought(fleet.description(device), placement))
        outcomes: list[Outcome] = []
        for at, batch in enumerate(batches):
            try:
                number = placement.with_part(at).number
                bought = self.buyer.buy(self.iteration, number, device, batch.plan, moved_on=moved_on)
            except DeviceGaveUpError as error:
                self.bought += [_Part(device, part.plan, part.outcome) for part in error.delivered]
                whole = [Delivery(b.rows, b.plan, o) for b, o in zip(batches, outcomes, strict=False)]
                parts = [Delivery(batch.rows[part.rows], part.plan, part.outcome) for part in error.delivered]
                return self._completed(plan, [*whole, *parts], _failed_now(failed, error), error)
            outcomes.append(bought.outcome)
            self.bought.append(_Part(device, batch.plan, bought.outcome))
        return join_outcomes(plan, batches, outcomes)

    def _as_bought(self, device: DeviceDescription, placement: BatchId) -> DeviceDescription:
        """The device at the price at which a placement's first job was entered, which its cut depends on."""
        entered = self.buyer.book.attempts(self.iteration, placement.with_part(0).number)
        if not entered or entered[0].price_json is None:
            return device
        return device.model_copy(update={"price": Price.model_validate_json(entered[0].price_json)})

    def _completed(
        self,
        plan: ExecutionPlan,
        delivered: list[Delivery],
        failed: tuple[str, ...],
        error: DeviceGaveUpError,
    ) -> Outcome:
        """What a device that gave up delivered, which was paid for, and all the rest from elsewhere."""
        left = undelivered(plan, delivered)
        assert left is not None, "a device does not give up on what it has delivered"
        rows, need = left
        return join_deliveries(plan, [*delivered, Delivery(rows, need, self._elsewhere(need, failed, error))])

    def _elsewhere(self, plan: ExecutionPlan, failed: tuple[str, ...], error: DeviceGaveUpError) -> Outcome:
        """From the next device, whose readout errors are known before anything is bought on it."""
        device = self._next_device(plan, failed, error)
        if self.applied is not None and device not in self.errors:
            try:
                self.errors[device] = treat_as(self._placement(device, plan), self.applied).errors
            except DeviceGaveUpError as unreadable:
                self.next_placement = self._after_next()
                return self._elsewhere(plan, _failed_now(failed, unreadable), unreadable)
        return self.buy(device, plan, failed)

    def _next_device(self, plan: ExecutionPlan, failed: tuple[str, ...], error: DeviceGaveUpError) -> str:
        """The next placement's device; the `error` of the one that gave up where no other can take it."""
        try:
            return self.decision(plan, failed).devices[0]
        except BudgetExceededError:
            raise
        except CannotRunError:
            raise error from None


def _failed_now(failed: tuple[str, ...], error: DeviceGaveUpError) -> tuple[str, ...]:
    """Devices that a new placement must not go to; one that only an earlier process gave up it may."""
    return failed if error.before else (*failed, error.device)
