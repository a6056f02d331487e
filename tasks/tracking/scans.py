"""The MLflow run that stands for a scan or a sweep."""

from __future__ import annotations

from mlflow import MlflowClient

from ledger import RunRecord
from tasks.interval import upper_end

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


def sum_up_parent(client: MlflowClient, mlflow_run_id: str, record: RunRecord) -> None:
    """What a scan has found so far, on the run that stands for it; said again after every child."""
    parent = client.get_run(mlflow_run_id).data.tags.get("mlflow.parentRunId")
    if parent is None:
        return
    ended_ms = record.updated_us // 1000
    children = client.search_runs(
        [client.get_run(parent).info.experiment_id], f"tags.`mlflow.parentRunId` = '{parent}'"
    )
    found = [child.data.metrics for child in children if "energy_best" in child.data.metrics]
    summary = {"children": float(len(children))}
    if found:
        best = min(found, key=lambda m: upper_end(m["energy_best"], m.get("energy_best_std_error", 0.0)))
        summary |= {key: value for key, value in best.items() if key.startswith("energy_best")}
    for key, value in summary.items():
        client.log_metric(parent, key, value, ended_ms)
    client.set_terminated(parent, "FINISHED", end_time=ended_ms)
