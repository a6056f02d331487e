"""What one run adds to the metrics, and histograms that add up."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from ledger import JobPhase
from ledger.statistics import DriveStatistics, JobStatistics

QUEUE_BUCKETS_S = (0.1, 1, 5, 15, 60, 300, 900, 3600, 14400, 86400)
DECISION_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)
ROUND_TRIP_BUCKETS_S = (0.001, 0.01, 0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 14400)


class Histogram:
    """Counts by upper bound, and the sum."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds, self.counts, self.sum = bounds, [0] * (len(bounds) + 1), 0.0

    def observe(self, value: float) -> None:
        self.counts[next((i for i, b in enumerate(self.bounds) if value <= b), len(self.bounds))] += 1
        self.sum += value

    def add(self, other: Histogram) -> None:
        self.counts = [a + b for a, b in zip(self.counts, other.counts, strict=True)]
        self.sum += other.sum

    def buckets(self) -> list[tuple[str, float]]:
        """Cumulative, as Prometheus has them."""
        names = [*(str(float(bound)) for bound in self.bounds), "+Inf"]
        return [(name, sum(self.counts[: i + 1])) for i, name in enumerate(names)]


_OUTCOMES = tuple(phase.value for phase in JobPhase if phase.ended)


def _queue() -> Histogram:
    return Histogram(QUEUE_BUCKETS_S)


@dataclass(eq=False)
class RunMetrics:
    """What one run adds to the metrics; jobs by (device, ...)."""

    ended: Counter[tuple[str, str]] = field(default_factory=Counter)
    open: Counter[tuple[str, str]] = field(default_factory=Counter)
    oldest_unknown_us: int | None = None
    partial: Counter[str] = field(default_factory=Counter)
    retries: Counter[str] = field(default_factory=Counter)
    shots: Counter[str] = field(default_factory=Counter)
    cost_micro_usd: Counter[str] = field(default_factory=Counter)
    busy_s: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    queue: defaultdict[str, Histogram] = field(default_factory=lambda: defaultdict(_queue))
    round_trip: Histogram = field(default_factory=lambda: Histogram(ROUND_TRIP_BUCKETS_S))
    decision: Histogram = field(default_factory=lambda: Histogram(DECISION_BUCKETS_S))
    lease_losses: int = 0

    def add_job(self, job: JobStatistics) -> None:
        """One job, bought or free."""
        if job.attempt:
            self.retries[job.device] += 1
        if job.queue_s is not None:
            self.queue[job.device].observe(job.queue_s)
        if not job.state.ended:
            self.open[job.device, job.state.value] += 1
            if job.state is JobPhase.UNKNOWN:
                self.oldest_unknown_us = min(job.created_us, self.oldest_unknown_us or job.created_us)
            return
        for outcome in _OUTCOMES:  # zeros too: a rate needs to have seen the counter before its first failure
            self.ended[job.device, outcome] += outcome == job.state
        self.partial[job.device] += job.partial
        self.shots[job.device] += job.shots
        self.cost_micro_usd[job.device] += job.cost_micro_usd
        self.busy_s[job.device] += job.busy_s

    def add_drives(self, drives: Sequence[DriveStatistics], iterations_us: Sequence[int]) -> None:
        """Round trips, each from the later of the iteration before and the drive's begin; lost leases."""
        starts = [drive.started_us for drive in drives]
        self.lease_losses = sum(drive.ended_us is None for drive in drives[:-1])
        before, at = 0, 0
        for ended_us in iterations_us:
            while at + 1 < len(starts) and starts[at + 1] <= ended_us:
                at += 1
            self.round_trip.observe(max(ended_us - max(before, starts[at] if starts else before), 0) / 1e6)
            before = ended_us
