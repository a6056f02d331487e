"""The points of a sweep: one spec, varied over a grid of its fields. Knows nothing of Prefect."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ledger import Journal, RunRecord, RunState
from shotwise.errors import UNSHOWN, SpecError
from shotwise.spec import RunSpec, load_spec
from shotwise.spec.load import parse_option
from tasks.provenance import new_run
from tasks.run_records import row_of

POINTS_MAX = 10_000


@dataclass(frozen=True)
class SweepPoint:
    """One run of a sweep.

    Attributes:
        overrides: what sets it apart, "a.b=json" each.
        spec: its whole spec.
    """

    overrides: tuple[str, ...]
    spec: RunSpec

    def run_id(self, sweep_id: str) -> str:
        """The same point of the same sweep is always the same run: that is what makes sweeps resumable."""
        text = f"{sweep_id}/{self.spec.canonical_json()}"
        return f"{self.spec.name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def grid(path: Path, fixed: Sequence[str], varied: Sequence[str]) -> tuple[SweepPoint, ...]:
    """Every combination of the values of `varied`, the last field fastest.

    Args:
        path: the spec's file.
        fixed: overrides of all points, "a.b=c" each.
        varied: "a.b=c1,c2,..." each; the values are read as a YAML list, so text with commas is quoted.

    Raises:
        SpecError: a field that is not of this form, has no values or makes no good spec, a scan, or too many
            points.
    """
    axes = [_axis(text) for text in varied]
    _check_fields(fixed, varied)
    total = 1
    for axis in axes:
        total *= len(axis)
    if total > POINTS_MAX:
        raise SpecError("--over", f"{total} points", f"more than {POINTS_MAX} points", "split the sweep")
    points = tuple(
        SweepPoint(chosen, load_spec(path, [*fixed, *chosen])) for chosen in itertools.product(*axes)
    )
    if len({point.spec.canonical_json() for point in points}) < len(points):
        raise SpecError("--over", UNSHOWN, "two points have the same spec", "give each value once")
    if any(point.spec.scan for point in points):
        raise SpecError(
            "scan", "given", "a scan is many runs by itself", "leave it out, or `shotwise run` it"
        )
    return points


def sweep_name(points: Sequence[SweepPoint]) -> str:
    """The usual id of a sweep: the same points give the same one, so a repeated command goes on."""
    text = json.dumps([point.spec.canonical_json() for point in points])
    return f"{points[0].spec.name}-sweep-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def enter_runs(journal: Journal, sweep_id: str, points: Sequence[SweepPoint]) -> tuple[str, ...]:
    """Enter the runs of all points that are not in the journal yet; the ids of all, in order, each once."""
    known = {record.run_id for record in journal.all_runs()}
    run_ids = dict.fromkeys(point.run_id(sweep_id) for point in points)
    for point in points:
        run_id = point.run_id(sweep_id)
        if run_id not in known:
            known.add(run_id)
            journal.create_run(
                new_run(point.spec),
                run_id=run_id,
                parent=sweep_id,
            )
    return tuple(run_ids)


def finished_rows(
    journal: Journal, sweep_id: str, points: Sequence[SweepPoint]
) -> list[dict[str, Any]] | None:
    """The rows of a sweep whose every point is completed; None where something is left to do."""
    known = {record.run_id: record for record in journal.all_runs() if record.state is RunState.COMPLETED}
    run_ids = [point.run_id(sweep_id) for point in points]
    return [point_row(known[run_id]) for run_id in run_ids] if known.keys() >= set(run_ids) else None


def point_row(record: RunRecord, error: str | None = None) -> dict[str, Any]:
    """What became of a point, of the same fields however it went; `error` is why it did not end."""
    return {**row_of(record), "error": error}


def _check_fields(fixed: Sequence[str], varied: Sequence[str]) -> None:
    """Refuse a field that another option would overwrite: they are applied in order, `varied` last."""
    before = [("--set", _field(text)) for text in fixed]
    for field in map(_field, varied):
        for option, earlier in before:
            if not f"{earlier}.".startswith(f"{field}."):
                continue
            if option == "--set":
                raise SpecError("--set", earlier, "--over varies it", "leave one of them out")
            if earlier == field:
                raise SpecError(
                    "--over", field, "varied twice", f"give all its values at once: {field}=1,2,3"
                )
            raise SpecError(
                "--over", earlier, f"{field}, varied after it, overwrites it", "leave one of them out"
            )
        before.append(("--over", field))


def _field(text: str) -> str:
    return text.partition("=")[0]


def _axis(text: str) -> tuple[str, ...]:
    field, equals, values = text.partition("=")
    if not equals or not all(field.split(".")):
        raise SpecError("--over", text, "not of the form a.b=c1,c2", "write --over seed=1,2,3")
    listed = parse_option("--over", text, f"[{values}]")
    if not listed:
        raise SpecError("--over", text, "no values", "write --over seed=1,2,3")
    return tuple(f"{field}={json.dumps(value)}" for value in listed)
