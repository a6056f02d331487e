"""The flow `scan`: one spec at many values of one field, as many at once as its task runner has room for.

On one machine the points share its cores. With `SHOTWISE_DASK_ADDRESS` they go to a Dask cluster.
"""

from __future__ import annotations

import json
import os
from typing import Any

from prefect import flow, task, unmapped
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from flows.qaoa import qaoa
from flows.vqe import vqe
from shotwise.spec import QaoaAnsatz, RunSpec, override, validate

DASK_ADDRESS = "SHOTWISE_DASK_ADDRESS"


def task_runner() -> TaskRunner[Any]:
    """A Dask cluster's if one is named, else as many threads as there are cores."""
    address = os.environ.get(DASK_ADDRESS)
    if not address:
        return ThreadPoolTaskRunner(max_workers=os.cpu_count() or 1)
    from prefect_dask.task_runners import DaskTaskRunner

    return DaskTaskRunner(address=address)


@task(name="scan-point", task_run_name="{field}={value}", cache_policy=NO_CACHE, persist_result=False)
def point(spec: RunSpec, field: str, value: Any) -> dict[str, Any]:
    """One run, with a journal of its own."""
    raw = spec.model_dump(mode="json")
    override(raw, f"{field}={json.dumps(value)}")
    ours = validate(
        {**raw, "name": f"{spec.name}-{value}"[:64].replace(" ", "") if _is_plain(value) else spec.name}
    )
    drive = qaoa if isinstance(ours.ansatz, QaoaAnsatz) else vqe
    result = drive(spec=ours)
    return {"value": value, "run_id": result["run_id"], "energy": result["energy"]}


@flow(name="scan", task_runner=task_runner(), persist_result=False)
def scan(spec: RunSpec, field: str, values: list[Any]) -> list[dict[str, Any]]:
    """Run `spec` with `field` (dotted, as in `--set`) at each of `values`."""
    points = point.map(unmapped(spec), unmapped(field), values).result()
    rows = [f"| {found['value']} | {found['energy']:.8f} | {found['run_id']} |" for found in points]
    table = "\n".join([f"| {field} | energy | run |", "|---|---|---|", *rows])
    create_markdown_artifact(table, key="shotwise-scan", description=f"{len(points)} points of {field}")
    return points


def _is_plain(value: Any) -> bool:
    return isinstance(value, int | float)
