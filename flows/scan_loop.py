"""The loop of a scan: enter a point's run, drive it, commit what it found, go on.

A point that samples circuits has a flow run of its own in Prefect, an exact one is a task run of the scan's.
"""

from __future__ import annotations

from functools import partial

from flows.closed_loop import closed_loop
from flows.qaoa import qaoa
from flows.run_lifecycle import OpenRun, Stopped, drive_run, open_run, publish_result, stop_run
from flows.vqe import vqe
from ledger import BudgetExceededError, Journal, RunState, Submissions
from optimizers import Reason
from shotwise.errors import NoRoomError, RunFailedError, SpecError
from shotwise.spec import ExactExecution, QaoaAnsatz, RunSpec
from shotwise.units import unit_of
from tasks.cancelling import end_parts
from tasks.driving import Drive
from tasks.loop_tasks import loop_task
from tasks.progress import Progress
from tasks.provenance import new_run
from tasks.recording import without_recording
from tasks.result import RunResult
from tasks.scan import (
    SCAN_COLUMNS,
    ScanPoint,
    ScanResult,
    axis_of,
    budget_is_spent,
    from_bytes,
    plot_scan,
    point_run_id,
    point_spec,
    points_of,
    reason_of,
    scan_rows,
    to_bytes,
)
from tasks.tracker import Tracker
from tasks.ui import ProgressArtifact


def scan_loop(spec: RunSpec | None, run_id: str | None) -> ScanResult | Stopped:
    """Drive a scan to its end, or to a safe point after a request to stop.

    Args, errors: as `flows.closed_loop.closed_loop`. The scan holds its own lease; every point is a run with
    a lease of its own, so a scan that is resumed goes on inside the point that it was stopped in.
    """
    run = open_run(spec, run_id, "scan")
    if ended := run.outcome(ScanResult.from_json):
        return ended
    Tracker.defer_ends()
    with drive_run(run) as driven:
        artifact = ProgressArtifact(run.run_id)
        result = _drive(run, driven.drive, driven.checkpoint, artifact)
    if not isinstance(result, Stopped):
        publish_result(run, artifact, result, [(result.axis, *SCAN_COLUMNS[1:]), *scan_rows(result)])
    return result


def _drive(
    run: OpenRun, drive: Drive, checkpoint: bytes | None, artifact: ProgressArtifact
) -> ScanResult | Stopped:
    """Run the points that are left; the curve is drawn and entered."""
    journal, lease, spec, reason = run.journal, drive.lease, run.spec, Reason.CONVERGED
    points = from_bytes(checkpoint) if checkpoint else ()
    while len(points) < len(points_of(spec)):
        if budget_is_spent(spec, points):
            reason = Reason.BUDGET_REACHED
            break
        try:
            result = None if drive.stop.is_set() else _run_point(journal, lease.run_id, spec, points)
        except (BudgetExceededError, NoRoomError):
            if not points or spec.budget.shots is spec.budget.usd is None:
                raise
            reason = Reason.BUDGET_REACHED  # what is left is no room for one more point
            break
        if result is None:
            return stop_run(drive, partial(end_parts, journal, lease.run_id))
        points = (*points, ScanPoint.of(points_of(spec)[len(points)], result))
        records = [points[-1].record(len(points) - 1)]
        lease.commit(records, iteration=len(points), state=to_bytes(points), active_us=drive.active_us)
        artifact(_progress(spec, lease.run_id, points))
    if reason is Reason.CONVERGED:  # as far as every point is
        reason = reason_of(points)
    curve = ScanResult(lease.run_id, RunState.COMPLETED, reason, axis_of(spec), points)
    run.home.keep_plot_cache()
    plot_scan(curve, run.home.curve(lease.run_id), unit=unit_of(spec.problem.kind))
    lease.finish(state=curve.state, reason=curve.reason, result_json=curve.to_json())
    return curve


def _run_point(
    journal: Journal, scan_id: str, spec: RunSpec, done: tuple[ScanPoint, ...]
) -> RunResult | None:
    """The next point's result, from the journal where it has been run; None where it was asked to stop."""
    point_id = point_run_id(scan_id, len(done))
    try:
        record = journal.run(point_id)
    except SpecError:
        journal.create_run(new_run(point_spec(spec, done)), run_id=point_id, parent=scan_id)
    else:
        if record.state is RunState.COMPLETED and record.result_json:
            return RunResult.from_json(record.result_json)
    if not _has_ended(spec, point_id):
        shall_end = Submissions(journal.database).is_cancelled(scan_id)
        if journal.run(point_id).state is RunState.CANCELLED and not shall_end:
            raise RunFailedError(f"{point_id}, a point of the scan, was cancelled; cancel or repeat the scan")
        return None
    result = RunResult.from_json(journal.run(point_id).result_json or "")
    if result.state is RunState.FAILED:
        raise RunFailedError(f"{point_id}, a point of the scan, failed: {result.reason}")
    return result


def _has_ended(spec: RunSpec, point_id: str) -> bool:
    """Drive a point; False where it was asked to stop."""
    if isinstance(spec.execution, ExactExecution):
        return not isinstance(_drive_exactly(point_id), Stopped)
    flow = qaoa if isinstance(spec.ansatz, QaoaAnsatz) else vqe  # a scan's points are nothing else
    state = flow(run_id=point_id, return_state=True)
    if not state.is_cancelled():
        state.result()  # raises what the flow raised
    return not state.is_cancelled()


@loop_task("scan-point", "scan-point {point_id}")
def _drive_exactly(point_id: str) -> RunResult | Stopped:
    """One task run, since Prefect's records of the point's tasks would take longer than they do."""
    with without_recording():
        return closed_loop(None, point_id)


def _progress(spec: RunSpec, run_id: str, points: tuple[ScanPoint, ...]) -> Progress:
    """The scan after a point, whose energy is the last point's; the points tell of themselves."""
    record = points[-1].record(len(points) - 1)
    return Progress(
        run_id=run_id,
        iteration=len(points),
        iterations_max=len(points_of(spec)),
        energy=record.energy,
        energy_std_error=record.energy_std_error,
        reference_energy=points[-1].reference_energy,
        unit=unit_of(spec.problem.kind),
        shots=sum(point.shots for point in points),
        cost_micro_usd=round(1e6 * sum(point.cost_usd for point in points)),
    )
