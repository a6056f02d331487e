"""The loop of recursive QAOA: eliminate, commit, and in the end undo the steps."""

from __future__ import annotations

import time

from flows.run_lifecycle import Stopped, drive_run, open_run, publish_result, stop_run
from ledger import IterationRecord
from optimizers import Reason
from problems import Elimination
from shotwise.spec import RunSpec
from tasks.driving import Drive
from tasks.free_iterations import SEGMENT_S
from tasks.loop_tasks import loop_task
from tasks.progress import Progress, notify_listeners, progress_listener
from tasks.recursion import (
    Recursion,
    eliminate,
    from_bytes,
    is_done,
    prepare_recursion,
    recursion_result,
    to_bytes,
)
from tasks.result import RunResult
from tasks.summary import summary_rows
from tasks.ui import ProgressArtifact


def elimination_loop(spec: RunSpec | None, run_id: str | None) -> RunResult | Stopped:
    """Drive a recursion to its end, or to the next safe point after a request to stop.

    Args, errors: as `flows.closed_loop.closed_loop`.
    """
    run = open_run(spec, run_id, "rqaoa")
    if ended := run.outcome(RunResult.from_json):
        return ended
    with drive_run(run) as driven:
        artifact = ProgressArtifact(run.run_id)
        recursion = prepare_recursion(run.spec)
        with progress_listener(artifact):
            result = _drive(recursion, driven.drive, driven.checkpoint)
    if not isinstance(result, Stopped):
        publish_result(run, artifact, result, [("", ""), *summary_rows(result, "", recursive=True)])
    return result


def _drive(recursion: Recursion, drive: Drive, checkpoint: bytes | None) -> RunResult | Stopped:
    """Eliminate from the journal's last checkpoint on; the result is entered."""
    lease, reason = drive.lease, Reason.CONVERGED
    state = from_bytes(recursion, checkpoint) if checkpoint else Elimination.of(recursion.model)
    while not is_done(recursion, state):
        if drive.stop.is_set():
            return stop_run(drive)
        if drive.is_out_of_time(recursion.spec.budget):
            reason = Reason.BUDGET_REACHED
            break
        state, records = eliminate_segment(recursion, state)
        lease.commit(records, iteration=len(state.steps), state=to_bytes(state), active_us=drive.active_us)
        _notify(recursion, lease.run_id, state, records[-1])
    result = finish_elimination(recursion, lease.run_id, state, reason)
    lease.finish(state=result.state, reason=result.reason, result_json=result.to_json())
    return result


@loop_task("classical-eliminate")
def eliminate_segment(recursion: Recursion, state: Elimination) -> tuple[Elimination, list[IterationRecord]]:
    """Eliminations of about half a second."""
    records: list[IterationRecord] = []
    ends = time.monotonic() + SEGMENT_S
    while not is_done(recursion, state) and (not records or time.monotonic() < ends):
        state, record = eliminate(recursion, state)
        records.append(record)
    return state, records


@loop_task("classical-enumerate")
def finish_elimination(recursion: Recursion, run_id: str, state: Elimination, reason: Reason) -> RunResult:
    """The result: what is left is enumerated."""
    return recursion_result(recursion, run_id, state, reason)


def _notify(recursion: Recursion, run_id: str, state: Elimination, record: IterationRecord) -> None:
    notify_listeners(
        Progress(
            run_id=run_id,
            iteration=len(state.steps),
            iterations_max=recursion.iterations_max,
            energy=record.energy,
            energy_std_error=0.0,
            reference_energy=recursion.baseline.energy,
            unit="",
            shots=0,
            cost_micro_usd=0,
        )
    )
