"""The loop of a scan: enter a point's run, drive it as its own flow, commit what it found, go on."""

from __future__ import annotations

from flows.driven import Stopped, driven, enter_run, open_run
from flows.qaoa import qaoa
from flows.vqe import vqe
from ledger import BudgetExceededError, Journal, RunState, Submissions
from optimizers import Reason
from shotwise.errors import NoRoomError, RunFailedError, SpecError
from shotwise.spec import QaoaAnsatz, RunSpec
from shotwise.units import unit_of
from tasks.cancelling import leave
from tasks.result import RunResult
from tasks.scan import (
    ScanPoint,
    ScanResult,
    axis_of,
    budget_is_spent,
    from_bytes,
    plot_scan,
    point_run_id,
    point_spec,
    points_of,
    to_bytes,
)
from tasks.starts import resolve_start


def scan_loop(spec: RunSpec | None, run_id: str | None) -> ScanResult | Stopped:
    """Drive a scan to its end, or to a safe point after a request to stop.

    Args, errors: as `flows.closed_loop.closed_loop`. The scan holds its own lease; every point is a run with
    a lease of its own, so a scan that is resumed goes on inside the point that it was stopped in.
    """
    opened = open_run(spec, run_id)
    if opened.result_json:
        return ScanResult.from_json(opened.result_json)
    if opened.cancelled:
        return Stopped.CANCELLED
    home, journal = opened.home, opened.journal
    spec = resolve_start(opened.spec, journal)
    run_id = run_id or enter_run(journal, spec)
    with driven(home, journal, run_id) as held:
        points = from_bytes(held.checkpoint) if held.checkpoint else ()
        reason = Reason.CONVERGED
        while len(points) < len(points_of(spec)):
            if budget_is_spent(spec, points):
                reason = Reason.BUDGET_REACHED
                break
            try:
                result = None if held.drive.stop.is_set() else _run_point(journal, run_id, spec, points)
            except (BudgetExceededError, NoRoomError):
                if not points or spec.budget.shots is spec.budget.usd is None:
                    raise
                reason = Reason.BUDGET_REACHED  # what is left is no room for one more point
                break
            if result is None:
                held.drive.heed_cancellation()
                leave(held.drive)
                return Stopped.CANCELLED if held.drive.cancelled.is_set() else Stopped.INTERRUPTED
            points = (*points, ScanPoint.of(points_of(spec)[len(points)], result))
            records = [points[-1].record(len(points) - 1)]
            held.lease.commit(
                records, iteration=len(points), state=to_bytes(points), active_us=held.drive.active_us
            )
        if reason is Reason.CONVERGED:  # as far as every point is
            reason = next((point.reason for point in points if point.reason != reason), reason)
        curve = ScanResult(run_id, "completed", reason, axis_of(spec), points)
        plot_scan(curve, home.curve(run_id), unit=unit_of(spec.problem.kind))
        held.lease.finish(state=curve.state, reason=curve.reason, result_json=curve.to_json())
    return curve


def _run_point(
    journal: Journal, scan_id: str, spec: RunSpec, done: tuple[ScanPoint, ...]
) -> RunResult | None:
    """The next point's result, from the journal where it has been run; None where it was asked to stop."""
    point_id = point_run_id(scan_id, len(done))
    try:
        record = journal.run(point_id)
    except SpecError:
        enter_run(journal, point_spec(spec, done), point_id, parent=scan_id)
    else:
        if record.state is RunState.COMPLETED and record.result_json:
            return RunResult.from_json(record.result_json)
    flow = qaoa if isinstance(spec.ansatz, QaoaAnsatz) else vqe  # a scan's points are nothing else
    state = flow(run_id=point_id, return_state=True)
    if state.is_cancelled():
        shall_end = Submissions(journal.database).is_cancelled(scan_id)
        if journal.run(point_id).state == Stopped.CANCELLED and not shall_end:
            raise RunFailedError(f"{point_id}, a point of the scan, was cancelled; cancel or repeat the scan")
        return None
    state.result()  # raises what the flow raised
    result = RunResult.from_json(journal.run(point_id).result_json or "")
    if result.state == "failed":
        raise RunFailedError(f"{point_id}, a point of the scan, failed: {result.reason}")
    return result
