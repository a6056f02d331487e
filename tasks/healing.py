"""Runs that nobody drives are found and given to another worker.

The journal's lease says whether a process drives a run; Prefect's flow runs say whether one is on its way to.
Who finds a run that has neither starts its next flow run, whose number makes that happen once however many
look. The journal then sees to it that nothing is bought twice.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, auto

from prefect.client.schemas.objects import StateType
from prefect.exceptions import ObjectNotFound

from ledger import Journal, RunState, Submission, Submissions
from shotwise.errors import CannotRunError, RunBusyError
from tasks.failure import FailureReason
from tasks.flow_runs import INTERRUPTED, FlowRuns, FlowRunView, emit_run_event

_log = logging.getLogger("shotwise.healing")

_OF_ONE_RUN = (CannotRunError, ObjectNotFound)
"""What holds up no other run: its deployment is gone, or somebody deleted a flow run meanwhile."""


@dataclass(frozen=True)
class HealingLimits:
    """How long a flow run may be in a state before its process is taken for dead.

    Attributes:
        pending_s: taken by a worker, not begun: a process starts and imports.
        running_s: begun, and no lease taken: a database is opened.
        ending_s: its drive ended in order: what the run found is published, to a server that may be away.
        idle_drives_max: drives without an iteration before a run is given up: it kills what drives it.
    """

    pending_s: float = 180.0
    running_s: float = 30.0
    ending_s: float = 600.0
    idle_drives_max: int = 8


class HealingAction(Enum):
    """What a run that the team has to finish needs now."""

    NOTHING = auto()
    """Somebody drives it, or is about to."""
    NEXT_FLOW_RUN = auto()
    GIVE_UP = auto()


@dataclass(frozen=True)
class Healed:
    """What was done about one run. `dead` flow runs were ended, `successor` goes on."""

    run_id: str
    dead: tuple[FlowRunView, ...]
    successor: FlowRunView | None


def action_for(
    run: Submission, driven: bool, flow_runs: Sequence[FlowRunView], now: datetime, limits: HealingLimits
) -> HealingAction:
    """What a run needs.

    Args:
        driven: whether a process holds its lease.
        flow_runs: all that drove or shall drive it.
    """
    if driven or any(each.is_open and not is_dead(each, now, limits) for each in flow_runs):
        return HealingAction.NOTHING
    if run.idle_drives >= limits.idle_drives_max and not run.cancelled:
        return HealingAction.GIVE_UP
    return HealingAction.NEXT_FLOW_RUN


def is_dead(flow_run: FlowRunView, now: datetime, limits: HealingLimits) -> bool:
    """Whether an open flow run, whose run nobody drives, has been in its state for too long to be alive."""
    age_s = (now - flow_run.since).total_seconds()
    if flow_run.state is StateType.PENDING:
        return age_s > limits.pending_s
    return flow_run.state in (StateType.RUNNING, StateType.CANCELLING) and age_s > limits.running_s


def is_ending(
    flow_run: FlowRunView, ended_drives: Mapping[str, int], now: datetime, limits: HealingLimits
) -> bool:
    """Whether a flow run gave its run back in order, not long ago: it says itself how it ended.

    Args:
        ended_drives: see `Journal.ended_drives`.
    """
    ended_us = ended_drives.get(str(flow_run.flow_run_id))
    return ended_us is not None and now.timestamp() - ended_us / 1e6 <= limits.ending_s


def heal(journal: Journal, flow_runs: FlowRuns, limits: HealingLimits = HealingLimits()) -> list[Healed]:
    """Look at everything once, and do what is needed."""
    submissions = Submissions(journal.database)
    done = []
    for run in submissions.unfinished():
        try:
            healed = _heal_run(run, submissions, journal, flow_runs, limits)
        except _OF_ONE_RUN as error:
            _log.warning("%s: %s", run.run_id, error)
            continue
        if healed is not None:
            done.append(healed)
    return done + _heal_before_their_run(submissions, journal, flow_runs, limits)


def _heal_run(
    run: Submission, submissions: Submissions, journal: Journal, flow_runs: FlowRuns, limits: HealingLimits
) -> Healed | None:
    """Give one run what it needs; None where it needs nothing. Raises CannotRunError."""
    known = flow_runs.of(run, journal.flow_run_ids(run.run_id))
    driven = journal.is_driven(run.run_id)
    if not driven and _has_ended(journal, run.run_id):  # since it was listed: its driver let go as it ended
        return None
    now, ended = datetime.now(UTC), journal.ended_drives(run.run_id)
    action = action_for(run, driven, known, now, limits)
    if action is HealingAction.NOTHING:
        return None
    if _was_cancelled_in_prefect(known):
        submissions.ask_to_cancel(run.run_id)
    dead = tuple(each for each in known if each.is_open and not is_ending(each, ended, now, limits))
    if action is HealingAction.GIVE_UP:
        _give_up(journal, run)
    successor = flow_runs.start(run, len(known)) if action is HealingAction.NEXT_FLOW_RUN else None
    for each in dead:
        flow_runs.crash(each.flow_run_id, _crash_message(run, successor))
    if known:
        _emit_event(run, dead, successor)
    return Healed(run.run_id, dead, successor)


def _heal_before_their_run(
    submissions: Submissions, journal: Journal, flow_runs: FlowRuns, limits: HealingLimits
) -> list[Healed]:
    """Flow runs that died before they had a run are done again; those whose run has ended are ended."""
    done = []
    for each in flow_runs.in_pool([StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]):
        try:
            healed = _heal_before_its_run(each, submissions, journal, flow_runs, limits)
        except _OF_ONE_RUN as error:
            _log.warning("%s: %s", each.name, error)
            continue
        if healed is not None:
            done.append(healed)
    return done


def _heal_before_its_run(
    each: FlowRunView, submissions: Submissions, journal: Journal, flow_runs: FlowRuns, limits: HealingLimits
) -> Healed | None:
    """End or repeat one flow run; None where it is not repeated. Raises CannotRunError."""
    run_id = submissions.of_flow_run(str(each.flow_run_id)) or journal.run_of_flow(str(each.flow_run_id))
    now = datetime.now(UTC)
    dead = is_dead(each, now, limits)
    if run_id is not None:
        # in this order: a drive that ends between two questions is among the ended ones
        ended = dead and _has_ended(journal, run_id)
        if ended and not is_ending(each, journal.ended_drives(run_id), now, limits):
            message = f"The process is gone; the run {run_id} has ended, see the journal."
            flow_runs.crash(each.flow_run_id, message)
        return None
    if not dead or each.state is not StateType.PENDING:
        return None
    successor = flow_runs.restart(each.flow_run_id)
    flow_runs.crash(each.flow_run_id, f"The worker is gone; flow run '{successor.name}' does it instead.")
    return Healed("", (each,), successor)


def _has_ended(journal: Journal, run_id: str) -> bool:
    return journal.run(run_id).state.has_ended


def _was_cancelled_in_prefect(known: Sequence[FlowRunView]) -> bool:
    """Its last flow run was cancelled by a person, not left to the next one."""
    if not known:
        return False
    last = known[-1]
    return last.state in (StateType.CANCELLED, StateType.CANCELLING) and last.state_name != INTERRUPTED


def _give_up(journal: Journal, run: Submission) -> None:
    try:
        lease = journal.acquire(run.run_id)
    except RunBusyError:
        return
    lease.finish(state=RunState.FAILED, reason=FailureReason.KILLS_ITS_DRIVERS, result_json=None)


def _crash_message(run: Submission, successor: FlowRunView | None) -> str:
    if successor is None:
        return f"The process is gone, as were {run.idle_drives} before it without an iteration: given up."
    return f"The process that drove this run is gone; it goes on in flow run '{successor.name}'."


def _emit_event(run: Submission, dead: Sequence[FlowRunView], successor: FlowRunView | None) -> None:
    emit_run_event(
        "restarted" if successor else "given-up",
        run.run_id,
        dead=", ".join(str(each.flow_run_id) for each in dead),
        successor=str(successor.flow_run_id) if successor else "",
    )
