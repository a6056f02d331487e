"""A scan: runs along a curve, each of which starts from the parameters that its neighbour ended with.

Every point is a run of the journal by itself, under an id that follows from the scan's, so that a scan that
was killed finds its points again. Knows nothing of Prefect.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ledger import IterationRecord, RunRecord, RunState, now_us
from optimizers import Reason
from problems import with_bond_length
from shotwise.errors import RunFailedError
from shotwise.spec import BondScan, BudgetSpec, MoleculeSpec, QaoaAnsatz, RunSpec
from shotwise.version_compatibility import known_fields
from tasks.interval import half_width
from tasks.overbilling import AS_QUOTED, Overbilling
from tasks.result import RunResult
from tasks.run_records import result_fields
from tasks.starts import transfer_parameters

FORMAT = 1


@dataclass(frozen=True)
class ScanPoint:
    """One point of the curve: where it is, which run measured it, and what that found."""

    value: float
    run_id: str
    reason: str
    energy: float | None
    energy_std_error: float | None
    reference_energy: float | None
    iterations: int
    evaluations: int
    shots: int
    cost_usd: float
    parameters: tuple[float, ...]
    overbilling: Overbilling = AS_QUOTED

    @classmethod
    def of(cls, value: float, result: RunResult) -> ScanPoint:
        names = "run_id reason energy energy_std_error reference_energy iterations evaluations shots cost_usd"
        found = {name: getattr(result, name) for name in (*names.split(), "overbilling")}
        return cls(value, parameters=tuple(result.parameters), **found)

    def record(self, index: int) -> IterationRecord:
        """The point as an iteration of the scan."""
        return IterationRecord(
            iteration=index,
            at_us=now_us(),
            energy=np.nan if self.energy is None else self.energy,
            energy_std_error=self.energy_std_error or 0.0,
            gradient_norm=None,
            fidelity=None,
            evaluations=self.evaluations,
            shots=self.shots,
            cost_micro_usd=round(self.cost_usd * 1e6),
            parameters=np.array(self.parameters, dtype="<f8").tobytes(),
        )


@dataclass(frozen=True)
class ScanResult:
    """The whole curve; sums are over all points.

    `energy` and `value` are those of the lowest point as measured: of sampled points one that noise favoured,
    so that its energy is too low by about a standard error. The points themselves are not selected.
    """

    run_id: str
    state: RunState
    reason: str
    axis: str
    points: tuple[ScanPoint, ...]

    def to_json(self) -> str:
        measured = [point for point in self.points if point.energy is not None]
        lowest = min(measured, key=lambda point: point.energy or 0.0, default=None)
        sums = {
            name: sum(getattr(point, name) for point in self.points)
            for name in ("iterations", "evaluations", "shots", "cost_usd")
        }
        best = {
            name: getattr(lowest, name, None)
            for name in ("energy", "energy_std_error", "reference_energy", "value")
        }
        return json.dumps({**asdict(self), **sums, **best}, sort_keys=True, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> ScanResult:
        """Read `to_json` of any version back."""
        kept = json.loads(text)
        points = tuple(_point(point) for point in kept["points"])
        return cls(kept["run_id"], RunState(kept["state"]), kept["reason"], kept["axis"], points)


def points_of(spec: RunSpec) -> tuple[float, ...]:
    """The values along the scan's axis, in the order in which they are run."""
    assert spec.scan is not None
    return spec.scan.values


def axis_of(spec: RunSpec) -> str:
    """What the axis is called."""
    if isinstance(spec.scan, BondScan) and isinstance(spec.problem, MoleculeSpec):
        return f"bond {spec.scan.bond[0]}-{spec.scan.bond[1]} ({spec.problem.units})"
    return "layers"


def point_run_id(scan_id: str, index: int) -> str:
    """The id of a point's run."""
    return f"{scan_id}.{index:03d}"


def point_spec(spec: RunSpec, done: Sequence[ScanPoint]) -> RunSpec:
    """The next point's spec: its own place on the curve, its neighbour's parameters, the budget that is left.

    Shots and money are the whole scan's: what the points before it spent is gone. Its time is each point's.
    """
    value = points_of(spec)[len(done)]
    problem, ansatz = spec.problem, spec.ansatz
    if isinstance(spec.scan, BondScan):
        assert isinstance(problem, MoleculeSpec)
        problem = with_bond_length(problem, spec.scan.bond, value)
    else:
        assert isinstance(ansatz, QaoaAnsatz)
        ansatz = ansatz.model_copy(update={"layers": int(value)})
    if done and done[-1].parameters:
        before = spec.ansatz
        if isinstance(before, QaoaAnsatz):
            before = before.model_copy(update={"layers": len(done[-1].parameters) // 2})
        start = transfer_parameters(before, list(done[-1].parameters), ansatz)
        ansatz = ansatz.model_copy(update={"parameters": tuple(start.tolist())})
    return spec.model_copy(
        update={"scan": None, "problem": problem, "ansatz": ansatz, "budget": _left(spec.budget, done)}
    )


def budget_is_spent(spec: RunSpec, done: Sequence[ScanPoint]) -> bool:
    """Whether a limit of the whole scan has been reached."""
    left = _left(spec.budget, done)
    return (left.shots is not None and left.shots <= 1) or (left.usd is not None and left.usd <= 0.0)


def reason_of(points: Sequence[ScanPoint]) -> Reason:
    """Why a scan whose points were all run has ended: for the budget where its last point has, else the
    first reason but convergence."""
    if points[-1].reason == Reason.BUDGET_REACHED:
        return Reason.BUDGET_REACHED
    others = (point.reason for point in points if point.reason != Reason.CONVERGED)
    return Reason(next(others, Reason.CONVERGED))


def _left(budget: BudgetSpec, done: Sequence[ScanPoint]) -> BudgetSpec:
    shots, usd = sum(point.shots for point in done), sum(point.cost_usd for point in done)
    return budget.model_copy(
        update={
            "shots": None if budget.shots is None else max(1, budget.shots - shots),
            "usd": None if budget.usd is None else max(0.0, round(budget.usd - usd, 6)),
        }
    )


def to_bytes(points: Sequence[ScanPoint]) -> bytes:
    """The points so far, as JSON."""
    return json.dumps({"format": FORMAT, "points": [asdict(point) for point in points]}).encode()


def from_bytes(data: bytes) -> tuple[ScanPoint, ...]:
    """Read `to_bytes` back.

    Raises:
        RunFailedError: written by another version.
    """
    kept = json.loads(data)
    if kept.get("format") != FORMAT:
        raise RunFailedError(
            "the checkpoint was written by another version of Shotwise; resume it with that version"
        )
    return tuple(_point(point) for point in kept["points"])


def scan_rows(result: ScanResult) -> list[list[str]]:
    """The curve as rows of a table: value, energy, interval, reference, error, iterations, shots, reason."""
    return [
        [
            f"{point.value:g}",
            "" if point.energy is None else f"{point.energy:.8f}",
            f"{half_width(point.energy_std_error):.1e}" if point.energy_std_error else "",
            "" if point.reference_energy is None else f"{point.reference_energy:.8f}",
            ""
            if point.energy is None or point.reference_energy is None
            else f"{point.energy - point.reference_energy:.2e}",
            str(point.iterations),
            f"{point.shots:,}",
            point.reason,
        ]
        for point in result.points
    ]


def scan_totals(result: ScanResult) -> str:
    """What all points took, in one line."""
    shots, usd = sum(point.shots for point in result.points), sum(point.cost_usd for point in result.points)
    billed = [
        f"; {point.run_id}: {warning}" for point in result.points if (warning := point.overbilling.warning)
    ]
    return f"{len(result.points)} points, {shots:,} shots, ${usd:.2f}{''.join(billed)}"


SCAN_COLUMNS = ("", "energy", "+- (95 %)", "reference", "error", "iterations", "shots", "ended")


def plot_scan(result: ScanResult, path: Path, *, unit: str) -> None:
    """The curve with 95 % error bars, and the exact one under it; written as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    exact = [(p.value, p.reference_energy) for p in result.points if p.reference_energy is not None]
    if exact:
        axes.plot(*zip(*exact, strict=True), color="#b3402a", linewidth=1, label="reference")
    measured = [(p.value, p.energy, p.energy_std_error or 0.0) for p in result.points if p.energy is not None]
    values, energies, errors = np.array(measured).reshape(-1, 3).T
    axes.errorbar(
        values,
        energies,
        yerr=half_width(errors),
        fmt="o",
        markersize=4,
        color="#1f5fa8",
        ecolor="#9dc1e8",
        label="energy, 95 %",
    )
    axes.set_xlabel(result.axis)
    axes.set_ylabel(f"energy ({unit})" if unit else "energy")
    axes.set_title(result.run_id)
    axes.legend()
    axes.grid(alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def _point(kept: dict) -> ScanPoint:
    billed = Overbilling(**known_fields(Overbilling, kept.get("overbilling", {})))
    told = {**known_fields(ScanPoint, kept), "parameters": tuple(kept["parameters"]), "overbilling": billed}
    return ScanPoint(**told)


def result_of(record: RunRecord) -> RunResult | ScanResult | None:
    """What a run or a scan found, None while it has found nothing."""
    if not record.result_json:
        return None
    kind = ScanResult if "points" in result_fields(record) else RunResult
    return kind.from_json(record.result_json)
