"""Prometheus metrics as a function of the journal: every job is in them, whoever ran it and however it ended.

A run's figures are read again only when its row in the journal has changed, so a scrape costs what has
happened since the last one. Labels are bounded: devices and tenants beyond the first `LABEL_VALUES_MAX` are
counted together as "other", and no label names a run.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from ledger import Currency, Database, Journal, Ledger, RunRecord, RunState, now_us
from ledger.statistics import (
    DriveStatistics,
    calibrations_taken_us,
    decisions_took_us,
    drive_statistics,
    iteration_times_us,
    job_statistics,
    latest_reconciliation,
)
from tasks.run_metrics import (
    DECISION_BUCKETS_S,
    QUEUE_BUCKETS_S,
    ROUND_TRIP_BUCKETS_S,
    Histogram,
    RunMetrics,
)
from tasks.run_records import spec_fields

LABEL_VALUES_MAX = 50
OTHER = "other"


@dataclass(frozen=True)
class _Known:
    updated_us: int
    mode: str
    tenant: str
    figures: RunMetrics


class JournalCollector(Collector):
    """All metrics of a journal."""

    def __init__(self, database: Database) -> None:
        self.journal, self.ledger = Journal(database), Ledger(database)
        self.known: dict[str, _Known] = {}

    def describe(self) -> Iterable[Metric]:
        """Nothing is read at registration."""
        return ()

    def collect(self) -> Iterator[Metric]:
        began = time.perf_counter()
        runs = self.journal.all_runs()
        self._refresh([run for run in runs if not self._is_known(run)])
        yield from _run_metrics(runs)
        yield from self._job_metrics()
        yield from self._money_metrics()
        yield from self._record_metrics()
        yield GaugeMetricFamily(
            "shotwise_scrape_duration_seconds",
            "What reading the journal took",
            value=time.perf_counter() - began,
        )

    def _is_known(self, run: RunRecord) -> bool:
        known = self.known.get(run.run_id)
        return known is not None and known.updated_us == run.updated_us

    def _refresh(self, runs: Sequence[RunRecord]) -> None:
        """Read the runs that have changed, all in a few queries."""
        database, run_ids = self.journal.database, [run.run_id for run in runs]
        figures = {run_id: RunMetrics() for run_id in run_ids}
        for job in job_statistics(database, run_ids):
            figures[job.run_id].add_job(job)
        for run_id, took_us in decisions_took_us(database, run_ids):
            figures[run_id].decision.observe(took_us / 1e6)
        drives: defaultdict[str, list[DriveStatistics]] = defaultdict(list)
        for drive in drive_statistics(database, run_ids):
            drives[drive.run_id].append(drive)
        for run_id, iterations_us in iteration_times_us(database, run_ids).items():
            figures[run_id].add_drives(drives[run_id], iterations_us)
        for run in runs:
            spec = spec_fields(run)
            mode = spec.get("execution", {}).get("mode", "exact")
            tenant = spec.get("account", {}).get("tenant", "default")
            self.known[run.run_id] = _Known(run.updated_us, mode, tenant, figures[run.run_id])

    def _job_metrics(self) -> Iterator[Metric]:
        every = [known.figures for known in self.known.values()]
        device = _Bounded(d for f in every for d in (*f.shots, *(name for name, _ in f.open)))
        ended = CounterMetricFamily(
            "shotwise_jobs", "Jobs that ended, by outcome", labels=("device", "outcome")
        )
        opened = GaugeMetricFamily(
            "shotwise_jobs_open", "Jobs that have not ended", labels=("device", "state")
        )
        for family, counters in ((ended, (f.ended for f in every)), (opened, (f.open for f in every))):
            for (name, state), count in _summed(counters, lambda key: (device(key[0]), key[1])).items():
                family.add_metric((name, state), count)
            yield family
        for name, text, counters in (
            (
                "shotwise_jobs_partial",
                "Jobs done with fewer shots than asked for",
                (f.partial for f in every),
            ),
            ("shotwise_job_retries", "Jobs that were a second or later attempt", (f.retries for f in every)),
            ("shotwise_device_busy_seconds", "Time in which a job ran", (f.busy_s for f in every)),
        ):
            family = CounterMetricFamily(name, text, labels=("device",))
            for label, value in _summed(counters, device).items():
                family.add_metric((label,), value)
            yield family
        yield _histogram(
            "shotwise_queue_to_start_seconds",
            "From a job's submission to its start; where the start was not seen, to its end",
            "device",
            QUEUE_BUCKETS_S,
            ((device(d), h) for f in every for d, h in f.queue.items()),
        )
        yield _histogram(
            "shotwise_round_trip_seconds",
            "From one iteration's end to the next, or from the begin of a drive",
            "mode",
            ROUND_TRIP_BUCKETS_S,
            ((k.mode, k.figures.round_trip) for k in self.known.values()),
        )
        yield _histogram(
            "shotwise_decision_seconds",
            "What routing a batch took",
            None,
            DECISION_BUCKETS_S,
            (("", f.decision) for f in every),
        )
        yield CounterMetricFamily(
            "shotwise_lease_losses",
            "Drives that another driver superseded before they ended",
            value=sum(f.lease_losses for f in every),
        )
        oldest = [f.oldest_unknown_us for f in every if f.oldest_unknown_us is not None]
        yield GaugeMetricFamily(
            "shotwise_unresolved_job_age_seconds",
            "Age of the oldest job of which nobody knows whether it was bought; 0 without one",
            value=(now_us() - min(oldest)) / 1e6 if oldest else 0.0,
        )

    def _money_metrics(self) -> Iterator[Metric]:
        balances = [b for b in self.ledger.balances() if "/" not in b.account]
        tenant = _Bounded((*(k.tenant for k in self.known.values()), *(b.account for b in balances)))
        device = _Bounded(d for k in self.known.values() for d in k.figures.shots)
        shots: Counter[tuple[str, str]] = Counter()
        micro_usd: Counter[tuple[str, str]] = Counter()
        for known in self.known.values():
            for name, count in known.figures.shots.items():
                shots[tenant(known.tenant), device(name)] += count
            for name, cost in known.figures.cost_micro_usd.items():
                micro_usd[tenant(known.tenant), device(name)] += cost
        family = CounterMetricFamily(
            "shotwise_shots", "Shots that ended jobs brought", labels=("tenant", "device")
        )
        for labels, count in shots.items():
            family.add_metric(labels, count)
        yield family
        family = CounterMetricFamily("shotwise_cost_usd", "Cost of ended jobs", labels=("tenant", "device"))
        for labels, cost in micro_usd.items():
            family.add_metric(labels, cost / 1e6)
        yield family
        limits = GaugeMetricFamily(
            "shotwise_budget_limit_usd", "Limit of a tenant; absent without one", labels=("tenant",)
        )
        used = GaugeMetricFamily("shotwise_budget_used_usd", "Spent and held by a tenant", labels=("tenant",))
        for balance in balances:
            if tenant(balance.account) == OTHER:
                continue  # limits of several tenants do not add up to anything
            used.add_metric((balance.account,), balance.used(Currency.MICRO_USD) / 1e6)
            limit = balance.limit(Currency.MICRO_USD)
            if limit is not None:
                limits.add_metric((balance.account,), limit / 1e6)
        yield limits
        yield used

    def _record_metrics(self) -> Iterator[Metric]:
        database = self.journal.database
        taken = calibrations_taken_us(database)
        device = _Bounded(taken)
        age = GaugeMetricFamily(
            "shotwise_calibration_age_seconds",
            "Age of the calibration that a device's latest job ran under",
            labels=("device",),
        )
        for name, taken_us in taken.items():
            if device(name) != OTHER:
                age.add_metric((name,), (now_us() - taken_us) / 1e6)
        yield age
        latest = latest_reconciliation(database)
        differences = GaugeMetricFamily(
            "shotwise_reconciliation_differences",
            "What the latest reconciliation found and did not correct",
            labels=("kind",),
        )
        for kind, count in (latest[1] if latest else {}).items():
            differences.add_metric((kind,), count)
        yield differences
        if latest:
            yield GaugeMetricFamily(
                "shotwise_reconciliation_timestamp_seconds",
                "When ledger, journal and bills were last compared",
                value=latest[0] / 1e6,
            )


def _run_metrics(runs: Sequence[RunRecord]) -> Iterator[Metric]:
    by_state = GaugeMetricFamily("shotwise_runs", "Runs in the journal", labels=("kind", "state"))
    for (kind, state), count in Counter((run.kind, run.state) for run in runs).items():
        by_state.add_metric((kind, state), count)
    yield by_state
    stalled = sum(run.state is RunState.RUNNING and run.lease_until_us < now_us() for run in runs)
    yield GaugeMetricFamily(
        "shotwise_runs_stalled", "Runs in state running whose lease has expired", value=stalled
    )


class _Bounded:
    """A label's values: the first so many that came, the rest as one; no series ever changes sides."""

    def __init__(self, values: Iterable[str]) -> None:
        self.kept = frozenset(list(dict.fromkeys(values))[:LABEL_VALUES_MAX])

    def __call__(self, value: str) -> str:
        return value if value in self.kept else OTHER


def _summed(counters: Iterable, label) -> dict:
    total: defaultdict = defaultdict(float)
    for counter in counters:
        for key, value in counter.items():
            total[label(key)] += value
    return total


def _histogram(
    name: str,
    text: str,
    label: str | None,
    bounds: Sequence[float],
    parts: Iterable[tuple[str, Histogram]],
) -> Metric:
    total: dict[str, Histogram] = {} if label else {"": Histogram(bounds)}
    for value, part in parts:
        total.setdefault(value, Histogram(bounds)).add(part)
    family = HistogramMetricFamily(name, text, labels=(label,) if label else ())
    for value, histogram in total.items():
        family.add_metric((value,) if label else (), histogram.buckets(), histogram.sum)
    return family
