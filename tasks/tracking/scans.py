"""The MLflow run that stands for a scan or a sweep, in each experiment that its children belong to."""

from __future__ import annotations

import json

from mlflow import MlflowClient
from mlflow.entities import Metric

from ledger import Journal, RunRecord
from tasks.interval import upper_end
from tasks.tracked_values import experiment_name, final_metrics

PARENT = "mlflow.parentRunId"
_SCAN = "shotwise.scan"


def parent_run(client: MlflowClient, experiment_id: str, parent: str, created_us: int) -> str:
    """The MLflow run that stands for `parent`; its first child creates it.

    Two children that begin at once may create two; all later ones take the older.
    """
    found = client.search_runs(
        [experiment_id], f"tags.`{_SCAN}` = '{parent}'", max_results=1, order_by=["start_time ASC"]
    )
    if found:
        return found[0].info.run_id
    run = client.create_run(experiment_id, created_us // 1000, tags={_SCAN: parent}, run_name=parent)
    return run.info.run_id


def sum_up(client: MlflowClient, mlflow_run_id: str, journal: Journal, child: RunRecord) -> None:
    """What a scan has found so far, on the run that stands for it; said again after every child.

    The journal knows all children, whatever process they end in.
    """
    assert child.parent is not None, "only children have parents"
    tracked = [each for each in journal.children(child.parent) if each.mlflow_run_id]
    siblings = [each for each in tracked if _experiment_of(each) == _experiment_of(child)]
    results = [final_metrics(json.loads(each.result_json)) for each in siblings if each.result_json]
    found = [metrics for metrics in results if "energy_best" in metrics]
    summary = {"children": float(len(siblings))}
    if found:
        best = min(found, key=lambda m: upper_end(m["energy_best"], m.get("energy_best_std_error", 0.0)))
        summary |= {key: value for key, value in best.items() if key.startswith("energy_best")}
    ended_ms = child.updated_us // 1000
    client.log_batch(mlflow_run_id, [Metric(key, value, ended_ms, 0) for key, value in summary.items()])
    client.set_terminated(mlflow_run_id, "FINISHED", end_time=ended_ms)


def _experiment_of(record: RunRecord) -> str:
    return experiment_name(json.loads(record.spec_json))
