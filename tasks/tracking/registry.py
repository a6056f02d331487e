"""The optimised ansatz of a run, as a version of its problem's model in MLflow."""

from __future__ import annotations

import json
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.models import Model

from tasks.interval import upper_end

_MODEL = "ansatz"


def register(
    client: MlflowClient, mlflow_run_id: str, name: str, problem_sha256: str, ansatz: dict[str, Any]
) -> None:
    """Enter the optimised ansatz of a run as a version of model `name`; the best carries the alias.

    The best is the one whose 95 % interval ends lowest, so that luck with few shots does not win.
    """
    with suppress(MlflowException):  # it exists already
        client.create_registered_model(name, tags={"problem_sha256": problem_sha256})
    versions = client.search_model_versions(f"name='{name}'")
    if not any(version.run_id == mlflow_run_id for version in versions):
        _log_model(client, mlflow_run_id, ansatz)
        tags = {key: str(ansatz[key]) for key in ("run_id", "energy", "energy_std_error", "unit")}
        tags["energy_upper"] = repr(upper_end(ansatz["energy"], ansatz["energy_std_error"]))
        source = f"{client.get_run(mlflow_run_id).info.artifact_uri}/{_MODEL}"
        client.create_model_version(name, source, mlflow_run_id, tags)
    versions = client.search_model_versions(f"name='{name}'")
    best = min(versions, key=lambda v: (float(v.tags["energy_upper"]), int(v.version)))
    client.set_registered_model_alias(name, "best", best.version)


def _log_model(client: MlflowClient, mlflow_run_id: str, ansatz: dict[str, Any]) -> None:
    """An MLflow model of a flavor of our own: JSON that `tasks.ansatz_record.load_ansatz` reads."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "ansatz.json").write_text(json.dumps(ansatz) + "\n")
        model = Model(artifact_path=_MODEL, run_id=mlflow_run_id)
        model.add_flavor("shotwise", data="ansatz.json", format=ansatz["format"])
        model.save(str(folder / "MLmodel"))
        client.log_artifacts(mlflow_run_id, name, _MODEL)
