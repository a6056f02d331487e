"""A batch that devices share is out on all of them at once, and is found again by the next process."""

from dataclasses import replace
from itertools import count

import numpy as np
import pytest

from backends.dispatch import RoutingRequest
from backends.sandbox import FaultKind, FaultSpec
from backends.sandbox.process import SandboxProcess
from ledger import BudgetExceededError, Currency, JobPhase, Ledger, jobs_of
from measurement import ExecutionPlan, Outcome
from shotwise.errors import UnreachableError
from shotwise.spec import validate
from tasks.driving import StopAsked
from tasks.durable import Buyer, DeviceGaveUpError, PurchaseResult
from tasks.evaluate import BatchResult, estimates_of, plan_iteration
from tasks.patience import UnresolvedJobError
from tasks.prepare import prepare
from tasks.prepared import Prepared
from tasks.purchase import purchase, run_concurrently
from tasks.retries import RetryPolicy
from tasks.routing import fits_budget, routing_request
from tasks.state import initial
from tests.unit.tasks.buying import IDEAL, assert_exactly_once, closed_at_the_end, fired

NOISY = "sandbox-noisy"
SPEC = {
    "problem": {"kind": "molecule", "geometry": "H 0 0 0; H 0 0 0.7414"},
    "optimizer": {"name": "spsa"},
    "execution": {"mode": "shots", "shots": 400, "policy": "ensemble", "devices": [IDEAL, NOISY]},
}


def bought(prepared: Prepared, buyer: Buyer) -> BatchResult:
    state = initial(prepared)
    plan = plan_iteration(prepared, state)
    return purchase(prepared, buyer, 0, plan, routing_request(prepared, buyer, state), final=False)


def test_shares_are_out_at_once_and_found_again(buyer: Buyer, sandbox: SandboxProcess) -> None:
    for device in (IDEAL, NOISY):
        sandbox.control().inject(FaultSpec(kind=FaultKind.JOB_STUCK_QUEUED, device=device))
    book, waits = buyer.book, count()
    database = book.lease.database

    def sleep_until_both_are_out(seconds: float) -> None:
        if [job.state for job in jobs_of(database)].count(JobPhase.SUBMITTED) == 2:
            raise StopAsked
        assert next(waits) < 5_000, f"they are not out together: {book.decision(0, 0, 0)}"

    prepared = prepare(validate(SPEC))
    first = replace(
        buyer,
        fleet=closed_at_the_end(prepared.fleet),
        sleep=sleep_until_both_are_out,
        retry_policy=RetryPolicy(first_s=0.01, longest_s=0.01),
    )
    with pytest.raises(StopAsked):
        bought(prepared, first)
    assert fired(sandbox, FaultKind.JOB_STUCK_QUEUED) == 2
    assert {job.device for job in jobs_of(database)} == {IDEAL, NOISY}

    prepared = prepare(validate(SPEC))
    second = replace(buyer, fleet=closed_at_the_end(prepared.fleet))
    measured = bought(prepared, second)  # what is stuck is cancelled and bought under new tokens
    assert measured.shots == sum(job.shots for job in jobs_of(database))
    assert measured.cost_micro_usd == sum(job.cost_micro_usd for job in jobs_of(database))
    assert_exactly_once(second)

    jobs = len(jobs_of(database))
    repeated = bought(prepared, second)
    assert len(jobs_of(database)) == jobs
    np.testing.assert_array_equal(
        estimates_of(prepared, repeated).means, estimates_of(prepared, measured).means
    )


def test_shares_that_go_elsewhere_again_and_again_never_take_each_others_place(buyer: Buyer) -> None:
    wide = {
        "ansatz": {"kind": "hardware_efficient", "layers": 6},
        "optimizer": {"name": "adam", "gradient": "parameter_shift"},
    }
    prepared = prepare(validate(SPEC | wide))
    fleet = closed_at_the_end(prepared.fleet)
    one_circuit = {
        name: fleet.description(name).model_copy(update={"circuits_max": 1}) for name in (IDEAL, NOISY)
    }
    fleet._descriptions.update(one_circuit)
    taken: list[tuple[int, str]] = []

    class FirstIsGone(Buyer):
        def buy(
            self, iteration: int, batch: int, device: str, plan: ExecutionPlan, *, moved_on: bool = False
        ) -> PurchaseResult:
            if device == IDEAL:
                raise DeviceGaveUpError(device, "gone")
            taken.append((batch, device))
            rows = [(np.array([0]), np.array([shots])) for shots in plan.shots]
            return PurchaseResult(Outcome.from_rows(rows), 0, plan.shots_total)

    Ledger(buyer.book.lease.database).set_limit("tenant", micro_usd=10**11)
    measured = bought(prepared, FirstIsGone(buyer.book, fleet))
    assert len(measured.parts) == 2
    assert len(taken) > 200
    assert len(set(taken)) == len(taken)


def test_a_device_that_is_silent_for_a_moment_ends_no_run(buyer: Buyer, sandbox: SandboxProcess) -> None:
    alone = {"execution": SPEC["execution"] | {"devices": [NOISY]}}
    prepared = prepare(validate(SPEC | alone))
    run = replace(buyer, fleet=closed_at_the_end(prepared.fleet))
    state = initial(prepared)
    plan = plan_iteration(prepared, state)

    sandbox.control().inject(FaultSpec(kind=FaultKind.READ_ERROR, device=NOISY, times=2))
    assert fits_budget(prepared, run, state, plan)  # silence is no lack of money
    sandbox.control().inject(FaultSpec(kind=FaultKind.READ_ERROR, device=NOISY, times=2))
    assert purchase(prepared, run, 0, plan, RoutingRequest(), final=False).shots == plan.shots_total
    assert fired(sandbox, FaultKind.READ_ERROR) == 4

    sandbox.control().inject(FaultSpec(kind=FaultKind.READ_ERROR, device=NOISY, times=None))
    with pytest.raises(UnreachableError):
        purchase(
            prepared,
            replace(run, retry_policy=RetryPolicy(first_s=0.01, unavailable_s=0.05)),
            1,
            plan,
            RoutingRequest(),
            final=False,
        )


@pytest.mark.parametrize("left", [0, 1_000_000])
def test_what_others_have_spent_meanwhile_ends_a_run_by_its_budget(buyer: Buyer, left: int) -> None:
    """The device could take the batch; a run that finds too little left stops in order and does not fail."""
    prepared = prepare(validate(SPEC))
    run = replace(buyer, fleet=closed_at_the_end(prepared.fleet))
    plan = plan_iteration(prepared, initial(prepared))
    with pytest.raises(BudgetExceededError):
        purchase(prepared, run, 0, plan, RoutingRequest(micro_usd_left=left), final=False)
    assert jobs_of(buyer.book.lease.database) == []


def test_what_one_call_raises_waits_for_the_others() -> None:
    ended = []

    def fails() -> None:
        raise StopAsked

    with pytest.raises(StopAsked):
        run_concurrently([fails, lambda: ended.append("other")])
    assert ended == ["other"]


def test_a_budgets_end_does_not_hide_a_job_that_is_out() -> None:
    """It ends a run in order, and the job would be forgotten; any other failure is resumed from."""

    def no_room() -> None:
        raise BudgetExceededError("account", Currency.MICRO_USD, 2, 1)

    def silent() -> None:
        raise UnresolvedJobError("job out")

    with pytest.raises(UnresolvedJobError):
        run_concurrently([no_room, silent])
    with pytest.raises(BudgetExceededError):
        run_concurrently([no_room, no_room])
