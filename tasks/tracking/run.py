"""One run on its way from the journal to MLflow. Calls are few, for each is a transaction or a request."""

from __future__ import annotations

import json
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST, ErrorCode

from ledger import Journal, RunRecord, RunState
from shotwise.home import Home
from tasks.run_records import minimises_tail
from tasks.trace_ids import trace_id
from tasks.tracked_values import experiment_name, final_metrics, iteration_metrics, scalars
from tasks.tracking.artifacts import write_artifacts
from tasks.tracking.registry import register
from tasks.tracking.scans import PARENT, parent_run, sum_up

_STATUS = {
    RunState.COMPLETED: "FINISHED",
    RunState.FAILED: "FAILED",
    RunState.INTERRUPTED: "KILLED",
    RunState.CANCELLED: "KILLED",
    RunState.RUNNING: "KILLED",
}


class TrackedRun:
    """A run while it is tracked; MLflow's run of its id is created where there is none."""

    def __init__(self, home: Home, journal: Journal, client: MlflowClient, run_id: str) -> None:
        self.home, self.journal, self.client, self.run_id = home, journal, client, run_id
        self.record = journal.run(run_id)
        self.spec: dict[str, Any] = json.loads(self.record.spec_json)
        self.logged = -1
        self.totals = {"shots": 0, "cost_micro_usd": 0}
        found = self._known() or self._find()
        self.is_new = found is None
        self.run: Run = found or self._create()
        self.mlflow_run_id: str = self.run.info.run_id
        if found:
            client.update_run(self.mlflow_run_id, status="RUNNING")
        if self.mlflow_run_id != self.record.mlflow_run_id:
            params = [Param(key, value) for key, value in scalars(self.spec).items()]
            client.log_batch(self.mlflow_run_id, self._news(), params)
            journal.set_mlflow_run(run_id, self.mlflow_run_id)

    def flush(self) -> None:
        """Log what was committed since."""
        self.client.log_batch(self.mlflow_run_id, self._news())

    def end(self) -> None:
        """Log the result, the pictures and the final status."""
        record = self.journal.run(self.run_id)
        ended_ms = record.updated_us // 1000
        metrics, tags = self._news(), []
        if record.result_json:
            last = max(self.logged, 0)
            result = final_metrics(json.loads(record.result_json))
            metrics += [Metric(key, value, ended_ms, last) for key, value in result.items()]
            tags.append(RunTag("shotwise.reason", str(record.reason)))
        for flow_run_id in self.journal.flow_run_ids(self.run_id)[-1:]:
            tags.append(RunTag("prefect.flow_run_id", flow_run_id))
        self.client.log_batch(self.mlflow_run_id, metrics, tags=tags)
        self._log_artifacts(record)
        self._register(record)
        self.client.set_terminated(self.mlflow_run_id, _STATUS[record.state], end_time=ended_ms)
        if parent := self.run.data.tags.get(PARENT):
            sum_up(self.client, parent, self.journal, record)

    def _news(self) -> list[Metric]:
        """The metrics of the iterations that were committed since."""
        metrics: list[Metric] = []
        for record in self.journal.iterations(self.run_id, after=self.logged):
            self.logged = record.iteration
            self.totals["shots"] += record.shots
            self.totals["cost_micro_usd"] += record.cost_micro_usd
            values = iteration_metrics(record, self.totals, tail=minimises_tail(self.spec))
            metrics += [
                Metric(key, value, record.at_us // 1000, record.iteration) for key, value in values.items()
            ]
        return metrics

    def _known(self) -> Run | None:
        """The run that the journal names; None where this MLflow does not have it, as a team's new one."""
        if not self.record.mlflow_run_id:
            return None
        try:
            return self.client.get_run(self.record.mlflow_run_id)
        except MlflowException as error:
            if error.error_code != ErrorCode.Name(RESOURCE_DOES_NOT_EXIST):
                raise
            return None

    def _find(self) -> Run | None:
        """A run that was created just before a crash, so that it is not created twice."""
        if self.record.fence <= 1:  # its first driver's: nobody was there to crash
            return None
        tag = f"tags.`shotwise.run_id` = '{self.run_id}'"
        found = self.client.search_runs([self._experiment_id], tag, max_results=1)
        return found[0] if found else None

    def _create(self) -> Run:
        record, versions = self.record, json.loads(self.record.versions_json)
        tags = {
            "shotwise.run_id": self.run_id,
            "shotwise.problem_sha256": record.problem_sha256,
            "shotwise.trace_id": f"{trace_id(self.run_id):032x}",
            "mlflow.source.git.commit": versions["git_commit"],
            **{f"version.{package}": found for package, found in versions.items() if package != "git_commit"},
        }
        if record.parent:
            tags[PARENT] = parent_run(self.client, self._experiment_id, record.parent, record.created_us)
        return self.client.create_run(
            self._experiment_id, start_time=record.created_us // 1000, tags=tags, run_name=self.run_id
        )

    @property
    def _experiment_id(self) -> str:
        return _experiment_id(self.client, self.home, experiment_name(self.spec))

    def _log_artifacts(self, record: RunRecord) -> None:
        with tempfile.TemporaryDirectory() as folder:
            write_artifacts(Path(folder), self.home, record, self.journal.iterations(self.run_id))
            self.client.log_artifacts(self.mlflow_run_id, folder)

    def _register(self, record: RunRecord) -> None:
        text = self.journal.ansatz_json(self.run_id)
        if text is not None and record.state is RunState.COMPLETED:
            name = f"{experiment_name(self.spec)}-{record.problem_sha256[:12]}"
            ansatz = json.loads(text)
            register(self.client, self.run, name, record.problem_sha256, ansatz, is_new=self.is_new)


@cache
def _experiment_id(client: MlflowClient, home: Home, name: str) -> str:
    """The experiment of that name, created where there is none."""
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        local = not home.mlflow_uri.startswith("http")
        location = (home.mlflow_artifacts / name).as_uri() if local else None
        try:
            return client.create_experiment(name, artifact_location=location)
        except MlflowException:  # another run created it meanwhile
            experiment = client.get_experiment_by_name(name)
    assert experiment is not None, "it was there or has just been created"
    return experiment.experiment_id
