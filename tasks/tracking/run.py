"""One run on its way from the journal to MLflow."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param
from mlflow.exceptions import MlflowException

from ledger import Journal, RunRecord, RunState
from shotwise.home import Home
from tasks.telemetry import trace_id
from tasks.tracked_values import experiment_name, final_metrics, iteration_metrics, scalars
from tasks.tracking.artifacts import write_artifacts
from tasks.tracking.registry import register
from tasks.tracking.scans import parent_run, sum_up_parent

_METRICS_A_CALL = 1000
_STATUS = {
    RunState.COMPLETED: "FINISHED",
    RunState.FAILED: "FAILED",
    RunState.INTERRUPTED: "KILLED",
    RunState.CANCELLED: "KILLED",
    RunState.RUNNING: "KILLED",
}


class TrackedRun:
    """A run while it is tracked; made where MLflow has none of its id."""

    def __init__(self, home: Home, journal: Journal, client: MlflowClient, run_id: str) -> None:
        self.home, self.journal, self.client, self.run_id = home, journal, client, run_id
        self.record = journal.run(run_id)
        self.spec: dict[str, Any] = json.loads(self.record.spec_json)
        self.mlflow_run_id = self.record.mlflow_run_id or self._find() or self._create()
        if self.record.mlflow_run_id is None:
            journal.set_mlflow_run(run_id, self.mlflow_run_id)
        self.client.update_run(self.mlflow_run_id, status="RUNNING")
        self.logged = -1
        self.totals = {"shots": 0, "cost_micro_usd": 0}

    def flush(self) -> None:
        """Log what was committed since."""
        metrics: list[Metric] = []
        for record in self.journal.iterations(self.run_id, after=self.logged):
            self.logged = record.iteration
            self.totals["shots"] += record.shots
            self.totals["cost_micro_usd"] += record.cost_micro_usd
            values = iteration_metrics(record, self.totals)
            metrics += [
                Metric(key, value, record.at_us // 1000, record.iteration) for key, value in values.items()
            ]
        self._log(metrics)

    def end(self) -> None:
        """Log the result, the pictures and the final status."""
        self.flush()
        record = self.journal.run(self.run_id)
        if record.result_json:
            result = json.loads(record.result_json)
            last = max(self.logged, 0)
            self._log(
                [
                    Metric(key, value, record.updated_us // 1000, last)
                    for key, value in final_metrics(result).items()
                ]
            )
            self.client.set_tag(self.mlflow_run_id, "shotwise.reason", str(record.reason))
        for flow_run_id in self.journal.flow_run_ids(self.run_id)[-1:]:
            self.client.set_tag(self.mlflow_run_id, "prefect.flow_run_id", flow_run_id)
        self._log_artifacts(record)
        self._register(record)
        self.client.set_terminated(
            self.mlflow_run_id, _STATUS[record.state], end_time=record.updated_us // 1000
        )
        sum_up_parent(self.client, self.mlflow_run_id, record)

    def _log(self, metrics: list[Metric]) -> None:
        for start in range(0, len(metrics), _METRICS_A_CALL):
            self.client.log_batch(self.mlflow_run_id, metrics=metrics[start : start + _METRICS_A_CALL])

    def _find(self) -> str | None:
        """A run that was created just before a crash, so that it is not created twice."""
        experiment = self.client.get_experiment_by_name(experiment_name(self.spec))
        if experiment is None:
            return None
        found = self.client.search_runs(
            [experiment.experiment_id], f"tags.`shotwise.run_id` = '{self.run_id}'", max_results=1
        )
        return found[0].info.run_id if found else None

    def _create(self) -> str:
        experiment_id = self._experiment()
        versions = json.loads(self.record.versions_json)
        tags = {
            "shotwise.run_id": self.run_id,
            "shotwise.problem_sha256": self.record.problem_sha256,
            "shotwise.trace_id": f"{trace_id(self.run_id):032x}",
            "mlflow.source.git.commit": versions["git_commit"],
            **{f"version.{package}": found for package, found in versions.items() if package != "git_commit"},
        }
        created_us = self.record.created_us
        if parent := self.record.parent:
            tags["mlflow.parentRunId"] = parent_run(self.client, experiment_id, parent, created_us)
        run = self.client.create_run(
            experiment_id, start_time=created_us // 1000, tags=tags, run_name=self.run_id
        )
        params = [Param(key, value) for key, value in scalars(self.spec).items()]
        self.client.log_batch(run.info.run_id, params=params)
        return run.info.run_id

    def _experiment(self) -> str:
        name = experiment_name(self.spec)
        experiment = self.client.get_experiment_by_name(name)
        if experiment is None:
            local = not self.home.mlflow_uri.startswith("http")
            location = (self.home.mlflow_artifacts / name).as_uri() if local else None
            try:
                return self.client.create_experiment(name, artifact_location=location)
            except MlflowException:  # another run created it meanwhile
                experiment = self.client.get_experiment_by_name(name)
        assert experiment is not None, "it was there or has just been created"
        return experiment.experiment_id

    def _log_artifacts(self, record: RunRecord) -> None:
        with tempfile.TemporaryDirectory() as folder:
            write_artifacts(Path(folder), self.home, record, self.journal.iterations(self.run_id))
            self.client.log_artifacts(self.mlflow_run_id, folder)

    def _register(self, record: RunRecord) -> None:
        text = self.journal.ansatz_json(self.run_id)
        if text is not None and record.state is RunState.COMPLETED:
            name = f"{experiment_name(self.spec)}-{record.problem_sha256[:12]}"
            register(self.client, self.mlflow_run_id, name, record.problem_sha256, json.loads(text))
