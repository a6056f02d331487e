"""What the tests of durable jobs share: a batch to buy, the next process, and the books compared."""

from dataclasses import replace

import numpy as np
from pydantic import SecretStr

from backends.fleet import Fleet
from backends.sandbox import FaultKind
from backends.sandbox.process import SandboxProcess
from ledger import JobPhase, jobs_of
from measurement import Bases, ExecutionPlan, Outcome
from problems import Circuit, Rotation
from tasks.durable import Buyer
from tasks.reconcile import DifferenceKind, reconcile
from tasks.retries import RetryPolicy

KEY = SecretStr("test-key-of-the-durable-suite")
IDEAL, NO_TOKENS = "sandbox-ideal", "sandbox-cheap"
QUICK = RetryPolicy(first_s=0.01, longest_s=0.1, unavailable_s=120, visible_s=0.5, stuck_s=0.3)


_opened: list[Fleet] = []


def fleet() -> Fleet:
    return closed_at_the_end(Fleet((IDEAL, NO_TOKENS)))


def closed_at_the_end(fleet: Fleet | None) -> Fleet:
    assert fleet is not None
    _opened.append(fleet)
    return fleet


def close_fleets() -> None:
    while _opened:
        _opened.pop().close()


def plan(seed: int = 1, shots: int = 300) -> ExecutionPlan:
    circuit = Circuit.build(
        2, [Rotation(0b11, 0, 0b01, 0), Rotation(0b10, 0b10, None, 1)], initial_state=0b01
    )
    zeros, rows = np.zeros(2, dtype=np.int64), np.arange(2)
    angles = circuit.angles(np.array([[0.7, 0.4]]))
    return ExecutionPlan(
        circuit, angles, Bases(np.array([0, 3]), zeros), zeros, rows, np.full(2, shots), (seed,)
    )


def again(buyer: Buyer) -> Buyer:
    """The buyer of the next process: nothing is known but the journal."""
    return replace(buyer, fleet=fleet())


def fired(sandbox: SandboxProcess, kind: FaultKind) -> int:
    """How often a fault of this test fired; those of earlier tests are cleared."""
    return sum(f.fired for f in sandbox.control().faults() if f.active and f.spec.kind is kind)


def assert_exactly_once(buyer: Buyer, *devices: str) -> None:
    """No job is on a provider's bill twice, and ledger, journal and bill agree."""
    database = buyer.book.lease.database
    mine = {job.token for job in jobs_of(database)}
    found = [d for d in reconcile(database, buyer.fleet.provider) if d.token in mine or not d.token]
    ours = [d for d in found if d.kind is not DifferenceKind.NOT_IN_JOURNAL]
    assert ours == []
    for job in jobs_of(database):
        count = len(buyer.fleet.provider(job.device).find(job.token))
        assert count == 1 if job.state is JobPhase.DONE else count <= 1


def assert_same(outcome: Outcome, wanted: Outcome) -> None:
    np.testing.assert_array_equal(outcome.states, wanted.states)
    np.testing.assert_array_equal(outcome.counts, wanted.counts)
