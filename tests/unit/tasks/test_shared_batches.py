"""A batch that devices share is out on all of them at once, and is found again by the next process."""

from dataclasses import replace

import numpy as np
import pytest

from backends.dispatch import Question
from backends.sandbox import FaultKind, FaultSpec
from backends.sandbox.process import SandboxProcess
from ledger import BudgetExceededError, JobPhase, jobs_of
from shotwise.spec import validate
from tasks.driving import StopAsked
from tasks.durable import Buyer, Patience
from tasks.evaluate import Measured, estimates_of, plan_iteration
from tasks.prepare import Prepared, prepare
from tasks.purchase import at_once, purchase, question_of
from tasks.state import initial
from tests.unit.tasks.buying import IDEAL, assert_exactly_once, fired

NOISY = "sandbox-noisy"
SPEC = {
    "problem": {"kind": "molecule", "geometry": "H 0 0 0; H 0 0 0.7414"},
    "optimizer": {"name": "spsa"},
    "execution": {"mode": "shots", "shots": 400, "policy": "ensemble", "devices": [IDEAL, NOISY]},
}


def bought(prepared: Prepared, buyer: Buyer) -> Measured:
    state = initial(prepared)
    plan = plan_iteration(prepared, state)
    return purchase(prepared, buyer, 0, plan, question_of(prepared, buyer, state), final=False)


def test_shares_are_out_at_once_and_found_again(buyer: Buyer, sandbox: SandboxProcess) -> None:
    for device in (IDEAL, NOISY):
        sandbox.control().inject(FaultSpec(kind=FaultKind.JOB_STUCK_QUEUED, device=device))
    database = buyer.book.lease.database

    def sleep_until_both_are_out(seconds: float) -> None:
        if [job.state for job in jobs_of(database)].count(JobPhase.SUBMITTED) == 2:
            raise StopAsked

    prepared = prepare(validate(SPEC))
    assert prepared.fleet is not None
    first = replace(
        buyer,
        fleet=prepared.fleet,
        sleep=sleep_until_both_are_out,
        patience=Patience(first_s=0.01, longest_s=0.01),
    )
    with pytest.raises(StopAsked):
        bought(prepared, first)
    assert fired(sandbox, FaultKind.JOB_STUCK_QUEUED) == 2
    assert {job.device for job in jobs_of(database)} == {IDEAL, NOISY}

    prepared = prepare(validate(SPEC))
    assert prepared.fleet is not None
    second = replace(buyer, fleet=prepared.fleet)
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


@pytest.mark.parametrize("left", [0, 1_000_000])
def test_what_others_have_spent_meanwhile_ends_a_run_by_its_budget(buyer: Buyer, left: int) -> None:
    """The device could take the batch; a run that finds too little left stops in order and does not fail."""
    prepared = prepare(validate(SPEC))
    assert prepared.fleet is not None
    run = replace(buyer, fleet=prepared.fleet)
    plan = plan_iteration(prepared, initial(prepared))
    with pytest.raises(BudgetExceededError):
        purchase(prepared, run, 0, plan, Question(micro_usd_left=left), final=False)
    assert jobs_of(buyer.book.lease.database) == []


def test_what_one_call_raises_waits_for_the_others() -> None:
    ended = []

    def fails() -> None:
        raise StopAsked

    with pytest.raises(StopAsked):
        at_once([fails, lambda: ended.append("other")])
    assert ended == ["other"]
