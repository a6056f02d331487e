"""Metrics are what the journal says, read again only where it has changed, with bounded labels."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from ledger import Journal, Ledger, NewRun
from ledger.statistics import record_reconciliation
from tasks.metrics import LABEL_VALUES_MAX, JournalCollector
from tests.databases import new_journal
from tests.unit.tasks.journals import enter_run, enter_trouble


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    database = new_journal(tmp_path / "journal.db")
    yield Journal(database)
    database.close()


@pytest.fixture
def registry(journal: Journal) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(JournalCollector(journal.database))
    return registry


def test_jobs_shots_money_and_times_are_those_of_the_journal(
    journal: Journal, registry: CollectorRegistry
) -> None:
    paid = enter_run(journal, "paid", [-1.0, -1.1, -1.12], micro_usd=250)
    enter_run(journal, "free", [-1.0, -1.1])
    value = registry.get_sample_value
    assert value("shotwise_jobs_total", {"device": "garnet", "outcome": "done"}) == 3
    assert value("shotwise_jobs_total", {"device": "garnet", "outcome": "failed"}) == 0
    assert value("shotwise_jobs_total", {"device": "jax", "outcome": "done"}) == 2
    assert value("shotwise_shots_total", {"tenant": "lab", "device": "garnet"}) == 300
    assert value("shotwise_cost_usd_total", {"tenant": "lab", "device": "garnet"}) == pytest.approx(750e-6)
    assert value("shotwise_queue_to_start_seconds_count", {"device": "garnet"}) == 3
    assert value("shotwise_decision_seconds_count") == 3
    assert value("shotwise_decision_seconds_sum") == pytest.approx(0.006)
    assert value("shotwise_round_trip_seconds_count", {"mode": "shots"}) == 5
    assert value("shotwise_calibration_age_seconds", {"device": "garnet"}) == pytest.approx(3600, abs=600)
    assert value("shotwise_lease_losses_total") == 0
    assert value("shotwise_unresolved_job_age_seconds") == 0

    enter_trouble(journal, paid)
    assert value("shotwise_jobs_total", {"device": "forte", "outcome": "failed"}) == 1
    assert value("shotwise_jobs_total", {"device": "forte", "outcome": "done"}) == 1
    assert value("shotwise_jobs_open", {"device": "forte", "state": "unknown"}) == 1
    assert value("shotwise_jobs_partial_total", {"device": "forte"}) == 1
    assert value("shotwise_job_retries_total", {"device": "forte"}) == 2
    assert value("shotwise_shots_total", {"tenant": "lab", "device": "forte"}) == 60
    assert value("shotwise_cost_usd_total", {"tenant": "lab", "device": "forte"}) == pytest.approx(307e-6)
    assert (value("shotwise_unresolved_job_age_seconds") or 0) > 0
    assert value("shotwise_jobs_total", {"device": "garnet", "outcome": "done"}) == 3


def test_a_drive_that_another_superseded_is_a_lost_lease(
    journal: Journal, registry: CollectorRegistry
) -> None:
    run_id = journal.create_run(
        NewRun(name="run", kind="pauli", spec_json="{}", problem_sha256="", versions_json="{}")
    )
    journal.acquire(run_id, lease_s=-1)
    assert registry.get_sample_value("shotwise_lease_losses_total") == 0
    assert registry.get_sample_value("shotwise_runs_stalled") == 1
    journal.acquire(run_id)
    assert registry.get_sample_value("shotwise_lease_losses_total") == 1
    assert registry.get_sample_value("shotwise_runs_stalled") == 0


def test_budgets_and_reconciliations_are_shown(journal: Journal, registry: CollectorRegistry) -> None:
    enter_run(journal, "paid", [-1.0], micro_usd=2_000_000)
    Ledger(journal.database).set_limit("lab", micro_usd=10_000_000)
    record_reconciliation(journal.database, {"bought twice": 0, "still unknown": 2})
    value = registry.get_sample_value
    assert value("shotwise_budget_limit_usd", {"tenant": "lab"}) == 10
    assert value("shotwise_budget_used_usd", {"tenant": "lab"}) == 2
    assert value("shotwise_reconciliation_differences", {"kind": "still unknown"}) == 2


def test_labels_are_bounded_and_name_no_run(journal: Journal, registry: CollectorRegistry) -> None:
    run_ids = [
        enter_run(journal, "run", [-1.0], tenant=f"tenant{n:03d}") for n in range(LABEL_VALUES_MAX + 5)
    ]
    text = generate_latest(registry).decode()
    assert text.count('shotwise_shots_total{device="jax"') == LABEL_VALUES_MAX + 1
    other = registry.get_sample_value("shotwise_shots_total", {"tenant": "other", "device": "jax"})
    assert other == 500
    assert not any(run_id in text for run_id in run_ids)


def test_an_empty_journal_has_metrics_too(registry: CollectorRegistry) -> None:
    assert "shotwise_runs_stalled 0.0" in generate_latest(registry).decode()
