"""Several runs side by side, from the journal: what differs, what was found, what it took."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ledger import Journal, RunRecord, RunState
from ledger.statistics import job_statistics
from shotwise.errors import SpecError
from shotwise.units import unit_of
from tasks.failure import reason_as_told
from tasks.interval import upper_end
from tasks.run_records import Headline, had_pilot, headline, minimises_tail, spec_fields
from tasks.tracked_values import scalars

RUNS_MAX = 12
_SPARKS = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True)
class DeviceSpending:
    """What one run used of one device; jobs that ended."""

    device: str
    jobs: int
    shots: int
    cost_micro_usd: int


@dataclass(frozen=True, eq=False)
class RunView:
    """One run, ready to be shown.

    Attributes:
        settings: the spec's scalars by dotted path.
        unit: of energies, "" where they have none.
        energy, energy_std_error: of the result, None where it has none; of the last iteration before there
            is a result.
        predicted_bias: see `tasks.result.RunResult`.
        reference, reference_method: None where unknown.
        duration_s: how long the run was driven in all.
        tail: whether its iterations tell of a CVaR.
        energies, std_errors: of every iteration, or those CVaRs, shape (iterations,); the pilot is none.
        shots, cost_usd: running totals after every iteration, shape (iterations,), the pilot's included.
        shots_total, cost_micro_usd: with the final evaluation.
    """

    run_id: str
    kind: str
    state: RunState
    reason: str | None
    problem_sha256: str
    settings: dict[str, str]
    unit: str
    energy: float | None
    energy_std_error: float
    predicted_bias: float | None
    reference: float | None
    reference_method: str | None
    fidelity: float | None
    duration_s: float
    tail: bool
    energies: np.ndarray
    std_errors: np.ndarray
    shots: np.ndarray
    cost_usd: np.ndarray
    shots_total: int
    cost_micro_usd: int
    devices: tuple[DeviceSpending, ...]

    @property
    def error(self) -> float | None:
        """Energy above the reference."""
        if self.energy is None or self.reference is None:
            return None
        return self.energy - self.reference

    @property
    def iterations(self) -> int:
        return len(self.energies)


@dataclass(frozen=True, eq=False)
class Comparison:
    """Runs in the order asked for.

    Attributes:
        differing: settings that are not the same in all runs, each with one value a run ("" where absent).
        comparable: whether all minimise the same problem, so that energies may be ranked.
    """

    runs: tuple[RunView, ...]
    differing: dict[str, tuple[str, ...]]
    comparable: bool

    @property
    def best(self) -> int | None:
        """The run of the lowest energy, counted with its error: the lowest upper end of a 95 % interval."""
        ends = {
            at: upper_end(run.energy, run.energy_std_error)
            for at, run in enumerate(self.runs)
            if run.energy is not None
        }
        return min(ends, key=lambda at: ends[at]) if self.comparable and len(ends) > 1 else None

    @property
    def biased(self) -> bool:
        """Whether the devices of any run were predicted to add a bias to its energy."""
        return any(run.predicted_bias for run in self.runs)

    @property
    def paid(self) -> bool:
        """Whether any run cost money."""
        return any(run.cost_micro_usd for run in self.runs)


def compare(journal: Journal, run_ids: Sequence[str]) -> Comparison:
    """Put runs side by side.

    Raises:
        SpecError: no such run, one named twice, or too many.
    """
    if len(set(run_ids)) != len(run_ids):
        raise SpecError("RUN_ID", " ".join(run_ids), "a run is named twice", "name each once")
    if len(run_ids) > RUNS_MAX:
        raise SpecError("RUN_ID", len(run_ids), f"more than {RUNS_MAX} runs", "compare fewer at once")
    runs = tuple(_view(journal, journal.run(run_id)) for run_id in run_ids)
    names = dict.fromkeys(name for run in runs for name in run.settings)
    values = {name: tuple(run.settings.get(name, "") for run in runs) for name in names}
    differing = {name: row for name, row in values.items() if len(set(row)) > 1 and name != "name"}
    return Comparison(runs, differing, len({run.problem_sha256 for run in runs}) == 1)


def sparkline(values: np.ndarray, width: int = 24) -> str:
    """Values as one line of blocks, the mean of each stretch; "" for none."""
    if not len(values):
        return ""
    means = np.array([part.mean() for part in np.array_split(values, min(width, len(values)))])
    low, high = means.min(), means.max()
    levels = (means - low) / (high - low) if high > low else np.zeros(len(means))
    return "".join(_SPARKS[int(level * (len(_SPARKS) - 1) + 0.5)] for level in levels)


def _settings(record: RunRecord) -> dict[str, str]:
    settings = scalars(spec_fields(record))
    if "execution.policy" in settings:  # which then says where batches go
        settings.pop("execution.device", None)
    return settings


def _view(journal: Journal, record: RunRecord) -> RunView:
    records = journal.iterations(record.run_id)
    settings = _settings(record)
    tail = minimises_tail(spec_fields(record))
    found = headline(record)
    if found is None:
        last = None if tail or not records else records[-1]  # a CVaR is not the mean
        found = Headline(last.energy, last.energy_std_error) if last else Headline()
    first = int(had_pilot(journal, record.run_id))
    devices = _devices(journal, record.run_id)
    cost_micro_usd = sum(device.cost_micro_usd for device in devices)
    return RunView(
        run_id=record.run_id,
        kind=record.kind,
        state=record.state,
        reason=reason_as_told(record.reason),
        problem_sha256=record.problem_sha256,
        settings=settings,
        unit=unit_of(record.kind),
        energy=found.energy,
        energy_std_error=found.energy_std_error or 0.0,
        predicted_bias=found.predicted_bias,
        reference=found.reference_energy,
        reference_method=found.reference_method,
        fidelity=found.fidelity,
        duration_s=record.active_us / 1e6,
        tail=tail,
        energies=np.array([r.energy for r in records[first:]]),
        std_errors=np.array([r.energy_std_error for r in records[first:]]),
        shots=np.cumsum([r.shots for r in records])[first:],
        cost_usd=np.cumsum([r.cost_micro_usd for r in records])[first:] / 1e6,
        shots_total=sum(device.shots for device in devices),
        cost_micro_usd=cost_micro_usd,
        devices=devices,
    )


def _devices(journal: Journal, run_id: str) -> tuple[DeviceSpending, ...]:
    spent: dict[str, list[int]] = {}
    for job in job_statistics(journal.database, [run_id]):
        if job.state.ended:
            sums = spent.setdefault(job.device, [0, 0, 0])
            for at, amount in enumerate((1, job.shots, job.cost_micro_usd)):
                sums[at] += amount
    return tuple(DeviceSpending(device, *sums) for device, sums in sorted(spent.items()))
