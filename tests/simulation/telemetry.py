"""Is telemetry complete? Journal, exported spans and exported metrics against each other, for every job."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from tasks.trace_ids import trace_id
from tests.simulation.command import Folder

Span = dict[str, Any]
LIVE = {"plan", "route", "submit", "wait", "estimate", "tell"}


def spans_of(folder: Folder) -> dict[str, list[Span]]:
    """Exported spans by run, their attributes flattened; of those told twice, the last."""
    spans: dict[str, dict[str, Span]] = defaultdict(dict)
    for path in (folder.home / "telemetry").glob("*.jsonl"):
        for line in path.read_text().splitlines():
            for resource in json.loads(line)["resourceSpans"]:
                for scope in resource["scopeSpans"]:
                    for span in scope["spans"]:
                        known = {a["key"]: next(iter(a["value"].values())) for a in span["attributes"]}
                        spans[path.stem][span["spanId"]] = {**span, "attributes": known}
    return {run_id: list(of_run.values()) for run_id, of_run in spans.items()}


def metrics_of(folder: Folder) -> dict[tuple[str, frozenset], float]:
    """What `shotwise metrics` prints, by name and labels."""
    done = folder.command("metrics")
    assert done.returncode == 0, done.stderr
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(done.stdout)
        for sample in family.samples
    }


def assert_telemetry_complete(folder: Folder) -> None:
    """Every job that ended has one span that says what the journal says, and all are in the metrics."""
    spans = spans_of(folder)
    for (run_id,) in folder.query("SELECT run_id FROM runs"):
        _assert_one_tree(run_id, spans[run_id])
        told = {
            s["attributes"]["shotwise.job.token"]: (
                s["attributes"]["shotwise.device"],
                s["attributes"]["shotwise.state"],
                int(s["attributes"]["shotwise.shots"]),
                int(s["attributes"]["shotwise.cost_micro_usd"]),
                int(s["startTimeUnixNano"]) // 1000,
                int(s["endTimeUnixNano"]) // 1000,
            )
            for s in spans[run_id]
            if s["name"] == "job"
        }
        entered = folder.query(
            "SELECT token, device, state, shots, cost_micro_usd, created_us, done_us FROM jobs"
            " WHERE run_id = ? AND done_us IS NOT NULL",
            run_id,
        )
        assert entered
        assert told == {token: tuple(row) for token, *row in entered}
        drives = folder.query("SELECT count(*) FROM drives WHERE run_id = ?", run_id)[0][0]
        if drives == 1:  # of a killed driver the last second of live spans may be missing
            assert {s["name"] for s in spans[run_id]} >= LIVE | {"run", "drive", "iteration", "job"}
            asked = Counter(
                s["attributes"]["shotwise.job.token"] for s in spans[run_id] if s["name"] == "wait"
            )
            assert set(asked) == set(told)
    _assert_metrics(folder)


def _assert_one_tree(run_id: str, spans: list[Span]) -> None:
    ids = {span["spanId"] for span in spans}
    assert {span["traceId"] for span in spans} == {f"{trace_id(run_id):032x}"}
    assert {span["attributes"]["shotwise.run_id"] for span in spans} == {run_id}
    roots = [span["name"] for span in spans if not span.get("parentSpanId")]
    assert roots == ["run"]
    lost = {s["name"] for s in spans if s.get("parentSpanId") and s["parentSpanId"] not in ids}
    assert lost == set()


def _assert_metrics(folder: Folder) -> None:
    found = metrics_of(folder)
    assert not any("run" in dict(labels) for _, labels in found)

    def value(name: str, **labels: str) -> float:
        return found.get((name, frozenset(labels.items())), 0.0)

    jobs = folder.query(
        "SELECT device, state, count(*), sum(shots), sum(cost_micro_usd), sum(attempt > 0) FROM jobs"
        " WHERE done_us IS NOT NULL GROUP BY device, state"
    )
    assert sum(v for (name, _), v in found.items() if name == "shotwise_jobs_total") == sum(
        row[2] for row in jobs
    )
    for device, state, count, *_ in jobs:
        assert value("shotwise_jobs_total", device=device, outcome=state) == count
    for device in {row[0] for row in jobs}:
        mine = [row for row in jobs if row[0] == device]
        labels = {"device": device, "tenant": "default"}
        assert value("shotwise_shots_total", **labels) == sum(row[3] for row in mine)
        assert round(1e6 * value("shotwise_cost_usd_total", **labels)) == sum(row[4] for row in mine)
        assert value("shotwise_job_retries_total", device=device) == sum(row[5] for row in mine)
        ((submitted,),) = folder.query(
            "SELECT count(*) FROM jobs WHERE device = ? AND submitted_us IS NOT NULL", device
        )
        assert value("shotwise_queue_to_start_seconds_count", device=device) == submitted > 0
    ((decided, timed),) = folder.query("SELECT count(*), count(took_us) FROM decisions")
    assert value("shotwise_decision_seconds_count") == decided == timed > 0
    ((iterations,),) = folder.query("SELECT count(*) FROM iterations")
    assert value("shotwise_round_trip_seconds_count", mode="shots") == iterations
    ((superseded,),) = folder.query(
        "SELECT count(*) FROM drives AS d WHERE ended_us IS NULL AND EXISTS"
        " (SELECT 1 FROM drives AS later WHERE later.run_id = d.run_id AND later.fence > d.fence)"
    )
    assert value("shotwise_lease_losses_total") == superseded
    ((reconciled,),) = folder.query("SELECT count(*) FROM reconciliations")
    assert reconciled >= 1
    assert value("shotwise_reconciliation_differences", kind="bought twice") == 0
