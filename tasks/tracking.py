"""MLflow hears of a run from the journal, in a process of its own beside the loop.

The loop never waits for MLflow: the tracker reads what was committed and logs it with the journal's own
timestamps, so that a replay after a crash repeats points exactly and MLflow keeps one of each. This is
the only module that imports mlflow, and only in that process.

    python -m tasks.tracking RUN_ID          track until standard input closes
    python -m tasks.tracking --make-template an empty, migrated store for fresh state folders
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ledger import Database, IterationRecord, Journal, RunRecord
from shotwise.home import Home

if TYPE_CHECKING:
    from mlflow import MlflowClient

FLUSH_EVERY_S = 1.0
_METRICS_A_CALL = 1000
_PARAM_CHARS_MAX = 500
_STATUS = {
    "completed": "FINISHED",
    "failed": "FAILED",
    "interrupted": "KILLED",
    "cancelled": "KILLED",
    "running": "KILLED",
}


@dataclass(frozen=True)
class Tracker:
    """Handle of the tracking process."""

    process: subprocess.Popen[bytes]

    @classmethod
    def start(cls, home: Home, run_id: str) -> Tracker:
        """Track a run; the process ends by itself when this one is gone."""
        home.logs.mkdir(parents=True, exist_ok=True)
        with (home.logs / "mlflow-tracker.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "tasks.tracking", run_id],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env={**os.environ, "SHOTWISE_HOME": str(home.root), "MLFLOW_DISABLE_TELEMETRY": "true"},
                start_new_session=True,
            )
        return cls(process)

    def finish(self, timeout_s: float = 120) -> bool:
        """Let it log the rest and wait for its end; whether all was logged."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            return self.process.wait(timeout_s) == 0
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return False


def mlflow_run_url(home: Home, mlflow_run_id: str) -> str:
    """Where the MLflow UI shows a run: the tracking server, or the one that `shotwise ui` starts."""
    base = home.mlflow_uri if home.mlflow_uri.startswith("http") else home.mlflow_ui_url
    return f"{base}/#/runs/{mlflow_run_id}"


class _Run:
    """One run on its way from the journal to MLflow."""

    def __init__(self, home: Home, journal: Journal, run_id: str) -> None:
        self.home, self.journal, self.run_id = home, journal, run_id
        self.client = _open_store(home)
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
        from mlflow.entities import Metric

        metrics: list[Metric] = []
        for record in self.journal.iterations(self.run_id, after=self.logged):
            self.logged = record.iteration
            self.totals["shots"] += record.shots
            self.totals["cost_micro_usd"] += record.cost_micro_usd
            values = _metrics(record, self.totals)
            metrics += [
                Metric(key, value, record.at_us // 1000, record.iteration) for key, value in values.items()
            ]
        self._log(metrics)

    def end(self) -> None:
        """Log the result, the pictures and the final status."""
        from mlflow.entities import Metric

        self.flush()
        record = self.journal.run(self.run_id)
        if record.result_json:
            result = json.loads(record.result_json)
            last = max(self.logged, 0)
            self._log(
                [
                    Metric(key, value, record.updated_us // 1000, last)
                    for key, value in _final_metrics(result).items()
                ]
            )
            self.client.set_tag(self.mlflow_run_id, "shotwise.reason", str(record.reason))
        for flow_run_id in self.journal.flow_run_ids(self.run_id)[-1:]:
            self.client.set_tag(self.mlflow_run_id, "prefect.flow_run_id", flow_run_id)
        self._log_artifacts(record)
        self.client.set_terminated(
            self.mlflow_run_id, _STATUS[record.state], end_time=record.updated_us // 1000
        )

    def _log(self, metrics: list[Any]) -> None:
        for start in range(0, len(metrics), _METRICS_A_CALL):
            self.client.log_batch(self.mlflow_run_id, metrics=metrics[start : start + _METRICS_A_CALL])

    def _find(self) -> str | None:
        """A run that was created just before a crash, so that it is not created twice."""
        experiment = self.client.get_experiment_by_name(_experiment_name(self.spec))
        if experiment is None:
            return None
        found = self.client.search_runs(
            [experiment.experiment_id], f"tags.`shotwise.run_id` = '{self.run_id}'", max_results=1
        )
        return found[0].info.run_id if found else None

    def _create(self) -> str:
        from mlflow.entities import Param
        from mlflow.exceptions import MlflowException

        name = _experiment_name(self.spec)
        experiment = self.client.get_experiment_by_name(name)
        if experiment is None:
            local = not self.home.mlflow_uri.startswith("http")
            location = (self.home.mlflow_artifacts / name).as_uri() if local else None
            try:
                experiment_id = self.client.create_experiment(name, artifact_location=location)
            except MlflowException:  # another run created it meanwhile
                experiment_id = self.client.get_experiment_by_name(name).experiment_id  # pyright: ignore
        else:
            experiment_id = experiment.experiment_id
        versions = json.loads(self.record.versions_json)
        tags = {
            "shotwise.run_id": self.run_id,
            "shotwise.problem_sha256": self.record.problem_sha256,
            "mlflow.source.git.commit": versions["git_commit"],
            **{f"version.{package}": found for package, found in versions.items() if package != "git_commit"},
        }
        run = self.client.create_run(
            experiment_id, start_time=self.record.created_us // 1000, tags=tags, run_name=self.run_id
        )
        params = [Param(key, value) for key, value in _scalar_params(self.spec).items()]
        self.client.log_batch(run.info.run_id, params=params)
        return run.info.run_id

    def _log_artifacts(self, record: RunRecord) -> None:
        from tasks.convergence import iteration_table, parameter_table, plot_convergence

        records = self.journal.iterations(self.run_id)
        result = json.loads(record.result_json) if record.result_json else {}
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "spec.json").write_text(json.dumps(self.spec, indent=2, sort_keys=True) + "\n")
            (folder / "versions.json").write_text(record.versions_json + "\n")
            if result:
                (folder / "result.json").write_text(json.dumps(result, indent=2, sort_keys=True) + "\n")
            if records:
                vectors = [vector.tolist() for vector in parameter_table(records)]
                (folder / "parameters.json").write_text(json.dumps(vectors) + "\n")
                iteration_table(records).to_csv(folder / "iterations.csv", index=False)
                plot_convergence(
                    records,
                    folder / "convergence.png",
                    title=self.run_id,
                    unit="Ha" if self.spec["problem"]["kind"] == "molecule" else "",
                    reference=result.get("reference_energy"),
                )
                self.home.plots.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(folder / "convergence.png", self.home.plot(self.run_id))
            self.client.log_artifacts(self.mlflow_run_id, name)


def _metrics(record: IterationRecord, totals: dict[str, int]) -> dict[str, float]:
    values = {
        "energy": record.energy,
        "energy_std_error": record.energy_std_error,
        "gradient_norm": record.gradient_norm,
        "fidelity": record.fidelity,
        "shots": float(totals["shots"]),
        "cost_usd": totals["cost_micro_usd"] / 1e6,
    }
    return {key: value for key, value in values.items() if value is not None}


_FINAL = {
    "energy": "energy_best",
    "energy_std_error": "energy_best_std_error",
    "error": "energy_error",
    "fidelity": "fidelity_final",
    "reference_energy": "energy_reference",
    "cut_value": "cut_value",
    "best_cut_value": "best_cut_value",
    "approximation_ratio": "approximation_ratio",
    "shots": "shots_total",
    "cost_usd": "cost_usd_total",
    "evaluations": "evaluations",
    "iterations": "iterations",
}


def _final_metrics(result: dict[str, Any]) -> dict[str, float]:
    return {key: float(result[name]) for name, key in _FINAL.items() if result.get(name) is not None}


def _scalar_params(spec: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """The spec's scalars by dotted path; lists and long texts are in the spec artifact."""
    params: dict[str, str] = {}
    for key, value in spec.items():
        if isinstance(value, dict):
            params |= _scalar_params(value, f"{prefix}{key}.")
        elif value is not None and not isinstance(value, list) and len(str(value)) <= _PARAM_CHARS_MAX:
            params[f"{prefix}{key}"] = str(value)
    return params


def _experiment_name(spec: dict[str, Any]) -> str:
    """One experiment a family of problems: "molecule-H2", "maxcut"."""
    problem = spec["problem"]
    if problem["kind"] != "molecule":
        return str(problem["kind"])
    symbols = [
        atom.split()[0].capitalize()
        for atom in problem["geometry"].replace("\n", ";").split(";")
        if atom.strip()
    ]
    counts = {symbol: symbols.count(symbol) for symbol in sorted(set(symbols))}
    return "molecule-" + "".join(f"{s}{c if c > 1 else ''}" for s, c in counts.items())


def _open_store(home: Home) -> MlflowClient:
    from mlflow import MlflowClient

    if home.mlflow_uri.startswith("sqlite:///"):
        _copy_template(Path(home.mlflow_uri.removeprefix("sqlite:///")))
    return MlflowClient(tracking_uri=home.mlflow_uri)


def _template() -> Path:
    from importlib.metadata import version

    return Path(sys.prefix) / "share" / "shotwise" / f"mlflow-{version('mlflow')}.db"


def _copy_template(store: Path) -> None:
    """Give a fresh state folder a store that is migrated already; without a template MLflow makes one."""
    store.parent.mkdir(parents=True, exist_ok=True)
    template = _template()
    if store.exists() or not template.exists():
        return
    with tempfile.NamedTemporaryFile(dir=store.parent, delete=False) as copy, template.open("rb") as source:
        shutil.copyfileobj(source, copy)
    try:
        os.link(copy.name, store)  # fails where another process was first: theirs may be in use
    except FileExistsError:
        pass
    finally:
        os.unlink(copy.name)


def make_template() -> None:
    """Build the template store."""
    from mlflow import MlflowClient

    template = _template()
    template.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=template.parent) as folder:
        store = Path(folder) / "mlflow.db"
        MlflowClient(tracking_uri=f"sqlite:///{store}").search_experiments()
        os.replace(store, template)


def track(home: Home, run_id: str) -> None:
    """Follow a run until standard input closes, which it does when its driver is done or dead."""
    closed = threading.Event()

    def wait_for_close() -> None:
        sys.stdin.buffer.read()
        closed.set()

    threading.Thread(target=wait_for_close, daemon=True).start()
    run = _Run(home, Journal(Database(home.database_url)), run_id)
    while not closed.wait(FLUSH_EVERY_S):
        run.flush()
    run.end()


def main() -> None:
    parser = argparse.ArgumentParser(description="Log a run's journal to MLflow.")
    parser.add_argument("run_id", nargs="?")
    parser.add_argument("--make-template", action="store_true")
    arguments = parser.parse_args()
    if arguments.make_template:
        make_template()
    else:
        track(Home.from_environment(), arguments.run_id)


if __name__ == "__main__":
    main()
