"""Who decides that a run needs another worker, and when."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from prefect.client.schemas.objects import StateType
from sqlalchemy import update

from ledger import Journal, Lease, NewRun, RunState, Submission, Submissions
from ledger.tables import runs
from shotwise.errors import CannotRunError
from tasks.flow_runs import FlowRunView
from tasks.healing import HealingAction, HealingLimits, action_for, heal

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LIMITS = HealingLimits(pending_s=60, running_s=10, idle_drives_max=3)


def run(idle_drives: int = 0, *, cancelled: bool = False) -> Submission:
    return Submission("h2-1", "vqe/on-demand", "default", 0, None, RunState.RUNNING, cancelled, idle_drives)


def flow_run(state: StateType, age_s: float) -> FlowRunView:
    return FlowRunView(UUID(int=1), "h2-1", state, state.value, NOW - timedelta(seconds=age_s))


@pytest.mark.parametrize(
    ("state", "age_s", "driven", "expected"),
    [
        (StateType.SCHEDULED, 10_000, False, HealingAction.NOTHING),
        (StateType.PENDING, 59, False, HealingAction.NOTHING),
        (StateType.PENDING, 61, False, HealingAction.NEXT_FLOW_RUN),
        (StateType.RUNNING, 9, False, HealingAction.NOTHING),
        (StateType.RUNNING, 11, False, HealingAction.NEXT_FLOW_RUN),
        (StateType.RUNNING, 10_000, True, HealingAction.NOTHING),
        (StateType.CANCELLING, 11, False, HealingAction.NEXT_FLOW_RUN),
        (StateType.CRASHED, 0, False, HealingAction.NEXT_FLOW_RUN),
        (StateType.CRASHED, 0, True, HealingAction.NOTHING),
        (StateType.CANCELLED, 0, False, HealingAction.NEXT_FLOW_RUN),
    ],
)
def test_a_run_gets_a_worker_when_nobody_drives_it_nor_is_about_to(
    state: StateType, age_s: float, driven: bool, expected: HealingAction
) -> None:
    assert action_for(run(), driven, [flow_run(state, age_s)], NOW, LIMITS) is expected


def test_a_run_that_nobody_was_told_of_gets_its_first_flow_run() -> None:
    assert action_for(run(), False, [], NOW, LIMITS) is HealingAction.NEXT_FLOW_RUN


def test_one_living_flow_run_is_enough() -> None:
    known = [flow_run(StateType.RUNNING, 100), flow_run(StateType.SCHEDULED, 1)]
    assert action_for(run(), False, known, NOW, LIMITS) is HealingAction.NOTHING


def test_a_run_that_kills_its_drivers_is_given_up_but_one_that_shall_end_is_settled() -> None:
    known = [flow_run(StateType.CRASHED, 5)]
    assert action_for(run(2), False, known, NOW, LIMITS) is HealingAction.NEXT_FLOW_RUN
    assert action_for(run(3), False, known, NOW, LIMITS) is HealingAction.GIVE_UP
    assert action_for(run(3, cancelled=True), False, known, NOW, LIMITS) is HealingAction.NEXT_FLOW_RUN


def test_a_run_that_cannot_be_started_holds_up_nobody(journal: Journal) -> None:
    started = []

    class Runs:
        """Prefect's flow runs, of which one deployment is gone."""

        def of(self, run: Submission, known: object) -> list[FlowRunView]:
            return []

        def start(self, run: Submission, number: int) -> FlowRunView:
            if run.deployment == "vqe/removed":
                raise CannotRunError("deployment", run.deployment, "not there", "apply it")
            started.append(run.run_id)
            return flow_run(StateType.SCHEDULED, 0)

        def in_pool(self, states: object) -> list[FlowRunView]:
            return []

    submissions = Submissions(journal.database)
    new = NewRun(name="run", kind="pauli", spec_json="{}", problem_sha256="", versions_json="{}")
    entered = [
        submissions.enter(new, deployment=deployment, queue="default")
        for deployment in ("vqe/removed", "vqe/on-demand")
    ]
    assert [each.run_id for each in submissions.unfinished()] == entered
    healed = heal(journal, Runs(), LIMITS)  # pyright: ignore[reportArgumentType]
    assert [each.run_id for each in healed] == started == entered[1:]


def test_a_run_that_ends_while_it_is_looked_at_gets_no_successor(journal: Journal) -> None:
    """Cancelled, it was in the list of unfinished runs, and a moment later nobody drove it."""
    new = NewRun(name="run", kind="pauli", spec_json="{}", problem_sha256="", versions_json="{}")
    run_id = Submissions(journal.database).enter(new, deployment="vqe/on-demand", queue="default")

    class Runs:
        def of(self, run: Submission, known: object) -> list[FlowRunView]:
            lease = journal.acquire(run_id)
            lease.finish(state=RunState.CANCELLED, reason="cancelled", result_json=None)
            return [flow_run(StateType.RUNNING, 100)]

        def in_pool(self, states: object) -> list[FlowRunView]:
            return []

    assert heal(journal, Runs(), LIMITS) == []  # pyright: ignore[reportArgumentType]


class RunningFor100S:
    """Prefect's flow runs where one is there, and began long before its run ended; what is done to them."""

    def __init__(self) -> None:
        self.crashed: list[UUID] = []
        self.successors = 0
        since = datetime.now(UTC) - timedelta(seconds=100)
        self.one = replace(flow_run(StateType.RUNNING, 0), since=since)

    def of(self, run: Submission, known: object) -> list[FlowRunView]:
        return [self.one]

    def in_pool(self, states: object) -> list[FlowRunView]:
        return [self.one]

    def start(self, run: Submission, number: int) -> FlowRunView:
        self.successors += 1
        return flow_run(StateType.SCHEDULED, 0)

    def crash(self, flow_run_id: UUID, message: str) -> None:
        self.crashed.append(flow_run_id)


def drive(journal: Journal, flow_runs: RunningFor100S) -> Lease:
    """A run of the team's that the flow run drives."""
    new = NewRun(name="run", kind="pauli", spec_json="{}", problem_sha256="", versions_json="{}")
    run_id = Submissions(journal.database).enter(new, deployment="vqe/on-demand", queue="default")
    lease = journal.acquire(run_id)
    lease.record_flow_run(str(flow_runs.one.flow_run_id))
    return lease


@pytest.mark.parametrize(
    ("state", "successors"),
    [(RunState.COMPLETED, 0), (RunState.FAILED, 0), (RunState.CANCELLED, 0), (RunState.INTERRUPTED, 1)],
)
def test_a_flow_run_that_publishes_what_its_run_found_is_not_dead(
    journal: Journal, state: RunState, successors: int
) -> None:
    flow_runs = RunningFor100S()
    drive(journal, flow_runs).finish(state=state, reason="any", result_json=None)
    heal(journal, flow_runs, LIMITS)  # pyright: ignore[reportArgumentType]
    assert (flow_runs.crashed, flow_runs.successors) == ([], successors)


def test_a_flow_run_that_died_while_it_published_is_ended_in_the_end(journal: Journal) -> None:
    flow_runs = RunningFor100S()
    drive(journal, flow_runs).finish(state=RunState.COMPLETED, reason="any", result_json=None)
    limits = replace(LIMITS, ending_s=-1.0)
    heal(journal, flow_runs, limits)  # pyright: ignore[reportArgumentType]
    assert flow_runs.crashed == [flow_runs.one.flow_run_id]


def test_a_flow_run_that_died_while_it_drove_is_dead_though_its_successor_ended_the_run(
    journal: Journal,
) -> None:
    flow_runs = RunningFor100S()
    died = drive(journal, flow_runs)
    with journal.database.write() as connection:
        connection.execute(update(runs).values(holder=None, lease_until_us=0))
    successor = journal.acquire(died.run_id)
    successor.record_flow_run(str(UUID(int=2)))
    successor.finish(state=RunState.COMPLETED, reason="any", result_json=None)
    heal(journal, flow_runs, LIMITS)  # pyright: ignore[reportArgumentType]
    assert flow_runs.crashed == [flow_runs.one.flow_run_id]
