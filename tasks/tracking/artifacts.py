"""The files of a run that MLflow keeps: spec, versions, result, tables and pictures."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from ledger import IterationRecord, RunRecord
from shotwise.home import Home
from shotwise.units import unit_of
from tasks.convergence import iteration_table, parameter_table, plot_convergence
from tasks.run_records import minimises_tail
from tasks.tracked_values import sees_means


def write_artifacts(folder: Path, home: Home, record: RunRecord, records: list[IterationRecord]) -> None:
    """Write them into `folder`, and the convergence plot among the home's plots too."""
    spec = json.loads(record.spec_json)
    result = json.loads(record.result_json) if record.result_json else {}
    _write_json(folder / "spec.json", spec)
    (folder / "versions.json").write_text(record.versions_json + "\n")
    if result:
        _write_json(folder / "result.json", result)
    if records:
        vectors = [vector.tolist() for vector in parameter_table(records)]
        (folder / "parameters.json").write_text(json.dumps(vectors) + "\n")
        tail = minimises_tail(spec)
        iteration_table(records, tail=tail).to_csv(folder / "iterations.csv", index=False)
        plot_convergence(
            records,
            folder / "convergence.png",
            title=record.run_id,
            unit=unit_of(record.kind),
            reference=result.get("reference_energy"),
            around=sees_means(spec, result),
            tail=tail,
        )
        home.plots.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / "convergence.png", home.plot(record.run_id))
    if (curve := home.curve(record.run_id)).exists():
        shutil.copyfile(curve, folder / "curve.png")


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n")
