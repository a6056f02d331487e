"""The optimised ansatz of a run, as a version of its problem's model in MLflow."""

from __future__ import annotations

import json
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.models import Model

from tasks.interval import upper_end

_MODEL = "ansatz"


def register(
    client: MlflowClient, run: Run, name: str, problem_sha256: str, ansatz: dict[str, Any], *, is_new: bool
) -> None:
    """Enter the optimised ansatz of a run as a version of model `name`, once; the best carries the alias.

    The best is the one whose 95 % interval ends lowest, so that luck with few shots does not win.

    Args:
        is_new: whether this process created the run, so that there can be no version of it.
    """
    _make_model(client, name, problem_sha256)
    if is_new or not client.search_model_versions(f"run_id='{run.info.run_id}'"):
        _log_model(client, run.info.run_id, ansatz)
        tags = {key: str(ansatz[key]) for key in ("run_id", "energy", "energy_std_error", "unit")}
        tags["energy_upper"] = repr(upper_end(ansatz["energy"], ansatz["energy_std_error"]))
        client.create_model_version(name, f"{run.info.artifact_uri}/{_MODEL}", run.info.run_id, tags)
    versions = client.search_model_versions(f"name='{name}'")
    best = min(versions, key=lambda v: (float(v.tags["energy_upper"]), int(v.version)))
    client.set_registered_model_alias(name, "best", best.version)


@cache
def _make_model(client: MlflowClient, name: str, problem_sha256: str) -> None:
    with suppress(MlflowException):  # it exists already
        client.create_registered_model(name, tags={"problem_sha256": problem_sha256})


def _log_model(client: MlflowClient, mlflow_run_id: str, ansatz: dict[str, Any]) -> None:
    """An MLflow model of a flavor of our own: JSON that `tasks.ansatz_record.load_ansatz` reads."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "ansatz.json").write_text(json.dumps(ansatz) + "\n")
        model = Model(artifact_path=_MODEL, run_id=mlflow_run_id)
        model.add_flavor("shotwise", data="ansatz.json", format=ansatz["format"])
        model.save(str(folder / "MLmodel"))
        client.log_artifacts(mlflow_run_id, name, _MODEL)
