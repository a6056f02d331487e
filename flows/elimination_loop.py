"""The loop of recursive QAOA: eliminate, commit, and in the end undo the steps."""

from __future__ import annotations

import time

from flows.driven import Stopped, driven, enter_run, open_run
from ledger import IterationRecord
from optimizers import Reason
from problems import Elimination
from shotwise.spec import RunSpec
from tasks.cancelling import leave
from tasks.progress import Progress, tell_watchers, watching
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
from tasks.stages import SEGMENT_S, stage
from tasks.summary import summary_rows
from tasks.tracker import mlflow_run_url
from tasks.ui import ProgressArtifact, publish_summary


def elimination_loop(spec: RunSpec | None, run_id: str | None) -> RunResult | Stopped:
    """Drive a recursion to its end, or to the next safe point after a request to stop.

    Args, errors: as `flows.closed_loop.closed_loop`.
    """
    opened = open_run(spec, run_id)
    if opened.result_json:
        return RunResult.from_json(opened.result_json)
    if opened.cancelled:
        return Stopped.CANCELLED
    home, journal, spec = opened.home, opened.journal, opened.spec
    recursion = prepare_recursion(spec)
    run_id = run_id or enter_run(journal, spec)
    artifact = ProgressArtifact(run_id)
    with driven(home, journal, run_id) as held, watching(artifact):
        state = from_bytes(recursion, held.checkpoint) if held.checkpoint else Elimination.of(recursion.model)
        reason = Reason.CONVERGED
        while not is_done(recursion, state):
            if held.drive.stop.is_set():
                leave(held.drive)
                return Stopped.CANCELLED if held.drive.cancelled.is_set() else Stopped.INTERRUPTED
            if held.drive.active_us >= 1e6 * (spec.budget.wall_s or float("inf")):
                reason = Reason.BUDGET_REACHED
                break
            state, records = eliminate_segment(recursion, state)
            held.lease.commit(
                records, iteration=len(state.steps), state=to_bytes(state), active_us=held.drive.active_us
            )
            _tell(recursion, run_id, state, records[-1])
        result = finish_elimination(recursion, run_id, state, reason)
        held.lease.finish(state=result.state, reason=result.reason, result_json=result.to_json())
    artifact.end(result)
    mlflow_run_id = journal.run(run_id).mlflow_run_id
    url = mlflow_run_url(home, mlflow_run_id) if mlflow_run_id else None
    publish_summary(result, summary_rows(result, ""), url)
    return result


@stage("classical-eliminate")
def eliminate_segment(recursion: Recursion, state: Elimination) -> tuple[Elimination, list[IterationRecord]]:
    """Eliminations of about half a second."""
    records: list[IterationRecord] = []
    ends = time.monotonic() + SEGMENT_S
    while not is_done(recursion, state) and (not records or time.monotonic() < ends):
        state, record = eliminate(recursion, state)
        records.append(record)
    return state, records


@stage("classical-enumerate")
def finish_elimination(recursion: Recursion, run_id: str, state: Elimination, reason: Reason) -> RunResult:
    """The result: what is left is enumerated."""
    return recursion_result(recursion, run_id, state, reason)


def _tell(recursion: Recursion, run_id: str, state: Elimination, record: IterationRecord) -> None:
    tell_watchers(
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
