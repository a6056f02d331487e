"""MLflow hears of a run from the journal, in a process of its own beside the loop.

The loop never waits for MLflow: the tracker reads what was committed and logs it with the journal's own
timestamps, so that a replay after a crash repeats points exactly and MLflow keeps one of each. This is
the only module that imports mlflow, and only in that process.

    python -m tasks.tracking                 what to track is said on standard input, see `serve`
    python -m tasks.tracking --make-template an empty, migrated store for fresh state folders
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Empty, Queue
from typing import TYPE_CHECKING, Any

from ledger import Database, Journal, RunRecord, RunState
from shotwise.home import Home
from shotwise.units import unit_of
from tasks.interval import upper_end
from tasks.telemetry import trace_id
from tasks.tracked_values import experiment_name, final_metrics, iteration_metrics, scalars

if TYPE_CHECKING:
    from mlflow import MlflowClient

FLUSH_EVERY_S = 1.0
_METRICS_A_CALL = 1000
_SCAN = "shotwise.scan"
_MODEL = "ansatz"
_STATUS = {
    RunState.COMPLETED: "FINISHED",
    RunState.FAILED: "FAILED",
    RunState.INTERRUPTED: "KILLED",
    RunState.CANCELLED: "KILLED",
    RunState.RUNNING: "KILLED",
}


class _Run:
    """One run on its way from the journal to MLflow."""

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
        from mlflow.entities import Metric

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
        from mlflow.entities import Metric

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
        self._sum_up_parent(record)

    def _log(self, metrics: list[Any]) -> None:
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
        from mlflow.entities import Param

        experiment_id = self._experiment()
        versions = json.loads(self.record.versions_json)
        tags = {
            "shotwise.run_id": self.run_id,
            "shotwise.problem_sha256": self.record.problem_sha256,
            "shotwise.trace_id": f"{trace_id(self.run_id):032x}",
            "mlflow.source.git.commit": versions["git_commit"],
            **{f"version.{package}": found for package, found in versions.items() if package != "git_commit"},
        }
        if self.record.parent:
            tags["mlflow.parentRunId"] = self._parent(experiment_id, self.record.parent)
        run = self.client.create_run(
            experiment_id, start_time=self.record.created_us // 1000, tags=tags, run_name=self.run_id
        )
        params = [Param(key, value) for key, value in scalars(self.spec).items()]
        self.client.log_batch(run.info.run_id, params=params)
        return run.info.run_id

    def _experiment(self) -> str:
        from mlflow.exceptions import MlflowException

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

    def _parent(self, experiment_id: str, parent: str) -> str:
        """The MLflow run that stands for a scan; its first child creates it.

        Two children that begin at once may create two; all later ones take the older.
        """
        found = self.client.search_runs(
            [experiment_id], f"tags.`{_SCAN}` = '{parent}'", max_results=1, order_by=["start_time ASC"]
        )
        if found:
            return found[0].info.run_id
        run = self.client.create_run(
            experiment_id, self.record.created_us // 1000, tags={_SCAN: parent}, run_name=parent
        )
        return run.info.run_id

    def _sum_up_parent(self, record: RunRecord) -> None:
        """What a scan has found so far, on the run that stands for it; said again after every child."""
        parent = self.client.get_run(self.mlflow_run_id).data.tags.get("mlflow.parentRunId")
        if parent is None:
            return
        ended_ms = record.updated_us // 1000
        children = self.client.search_runs(
            [self.client.get_run(parent).info.experiment_id], f"tags.`mlflow.parentRunId` = '{parent}'"
        )
        found = [child.data.metrics for child in children if "energy_best" in child.data.metrics]
        summary = {"children": float(len(children))}
        if found:
            best = min(found, key=lambda m: upper_end(m["energy_best"], m.get("energy_best_std_error", 0.0)))
            summary |= {key: value for key, value in best.items() if key.startswith("energy_best")}
        for key, value in summary.items():
            self.client.log_metric(parent, key, value, ended_ms)
        self.client.set_terminated(parent, "FINISHED", end_time=ended_ms)

    def _register(self, record: RunRecord) -> None:
        """Enter the optimised ansatz as a version of its problem's model; the best carries the alias.

        The best is the one whose 95 % interval ends lowest, so that luck with few shots does not win.
        """
        from mlflow.exceptions import MlflowException

        text = self.journal.ansatz_json(self.run_id)
        if text is None or record.state is not RunState.COMPLETED:
            return
        ansatz = json.loads(text)
        name = f"{experiment_name(self.spec)}-{record.problem_sha256[:12]}"
        with suppress(MlflowException):  # it exists already
            self.client.create_registered_model(name, tags={"problem_sha256": record.problem_sha256})
        versions = self.client.search_model_versions(f"name='{name}'")
        if not any(version.run_id == self.mlflow_run_id for version in versions):
            self._log_model(ansatz)
            tags = {key: str(ansatz[key]) for key in ("run_id", "energy", "energy_std_error", "unit")}
            tags["energy_upper"] = repr(upper_end(ansatz["energy"], ansatz["energy_std_error"]))
            source = f"{self.client.get_run(self.mlflow_run_id).info.artifact_uri}/{_MODEL}"
            self.client.create_model_version(name, source, self.mlflow_run_id, tags)
        versions = self.client.search_model_versions(f"name='{name}'")
        best = min(versions, key=lambda v: (float(v.tags["energy_upper"]), int(v.version)))
        self.client.set_registered_model_alias(name, "best", best.version)

    def _log_model(self, ansatz: dict[str, Any]) -> None:
        """An MLflow model of a flavor of our own: JSON that `tasks.ansatz_record.load_ansatz` reads."""
        from mlflow.models import Model

        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "ansatz.json").write_text(json.dumps(ansatz) + "\n")
            model = Model(artifact_path=_MODEL, run_id=self.mlflow_run_id)
            model.add_flavor("shotwise", data="ansatz.json", format=ansatz["format"])
            model.save(str(folder / "MLmodel"))
            self.client.log_artifacts(self.mlflow_run_id, name, _MODEL)

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
                    unit=unit_of(self.record.kind),
                    reference=result.get("reference_energy"),
                    around=_sees_means(self.spec, result),
                )
                self.home.plots.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(folder / "convergence.png", self.home.plot(self.run_id))
            if (curve := self.home.curve(self.run_id)).exists():
                shutil.copyfile(curve, folder / "curve.png")
            self.client.log_artifacts(self.mlflow_run_id, name)


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


def _import_plots() -> None:
    """Import beside the loop what its end will need."""
    import matplotlib.backends.backend_agg
    import matplotlib.figure  # noqa: F401

    import tasks.convergence  # noqa: F401


class _Runs:
    """The runs that are being tracked. What goes wrong with one is said on standard error."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._client = _open_store(home)
        self._journal = Journal(Database(home.database_url))
        self._tracked: dict[str, _Run] = {}
        _import_plots()

    def begin(self, run_id: str) -> None:
        with _said():
            self._tracked[run_id] = _Run(self._home, self._journal, self._client, run_id)

    def flush(self) -> None:
        for run_id, run in list(self._tracked.items()):
            with _said() as failed:
                run.flush()
            if failed:
                del self._tracked[run_id]

    def end(self, run_id: str) -> bool:
        """Log the rest of a run; whether all of it was logged."""
        run = self._tracked.pop(run_id, None)
        if run is None:
            return False
        with _said() as failed:
            run.end()
        return not failed

    def end_all(self) -> None:
        for run_id in list(self._tracked):
            self.end(run_id)


def _sees_means(spec: dict[str, Any], result: dict[str, Any]) -> bool:
    """Whether an iteration's energy is a mean around the point; of `auto` only a result knows."""
    asked = spec.get("optimizer", {})  # as an earlier version wrote it, perhaps
    ways = [asked.get("name", ""), asked.get("gradient", ""), *result.get("method", {}).values()]
    return any(way.startswith("spsa") for way in ways)


@contextmanager
def _said() -> Iterator[list[Exception]]:
    """Print an exception instead of raising it; the list then holds it."""
    failed: list[Exception] = []
    try:
        yield failed
    except Exception as error:
        failed.append(error)
        traceback.print_exc()


def serve(home: Home) -> None:
    """Track the runs that standard input names, until it closes, which it does when the driver is gone.

    `+RUN` begins and `-RUN` ends one, which is answered by `complete RUN` or `incomplete RUN`.
    """
    lines: Queue[str | None] = Queue()

    def listen() -> None:
        for line in sys.stdin:
            lines.put(line.strip())
        lines.put(None)

    threading.Thread(target=listen, daemon=True).start()
    runs = _Runs(home)
    while True:
        try:
            line = lines.get(timeout=FLUSH_EVERY_S)
        except Empty:
            runs.flush()
            continue
        if line is None:
            break
        if line.startswith("+"):
            runs.begin(line[1:])
        else:
            print("complete" if runs.end(line[1:]) else "incomplete", line[1:], flush=True)
    runs.end_all()


def main() -> None:
    parser = argparse.ArgumentParser(description="Log the journal of runs to MLflow.")
    parser.add_argument("--make-template", action="store_true")
    arguments = parser.parse_args()
    if arguments.make_template:
        make_template()
    else:
        serve(Home.from_environment())


if __name__ == "__main__":
    main()
