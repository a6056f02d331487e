"""Who decides that a run needs another worker, and when."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from prefect.client.schemas.objects import StateType

from ledger import Journal, NewRun, RunState, Submission, Submissions
from shotwise.errors import CannotRunError
from tasks.flow_runs import FlowRunView
from tasks.healing import HealingAction, HealingLimits, action_for, heal

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LIMITS = HealingLimits(pending_s=60, running_s=10, idle_drives_max=3)


def run(idle_drives: int = 0, *, cancelled: bool = False) -> Submission:
    return Submission("h2-1", "vqe/on-demand", "default", 0, None, "running", cancelled, idle_drives)


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
    runs = [
        submissions.enter(new, deployment=deployment, queue="default")
        for deployment in ("vqe/removed", "vqe/on-demand")
    ]
    assert [each.run_id for each in submissions.unfinished()] == runs
    healed = heal(journal, Runs(), LIMITS)  # pyright: ignore[reportArgumentType]
    assert [each.run_id for each in healed] == started == runs[1:]


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
