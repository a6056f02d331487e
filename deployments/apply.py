"""Tell Prefect's server what the team runs: `python -m deployments.apply`. Idempotent.

The work pool with its queues by priority, the deployments of `prefect.yaml`, and the automation that gives up
flow runs whose process has fallen silent.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.exceptions import ObjectNotFound
from prefect.workers.process import ProcessWorker

from deployments.environment import HEARTBEAT_S
from deployments.pauses import with_pauses

WORK_POOL = "shotwise"
QUEUES = {"critical": 1, "default": 2, "low": 3}
"""Queues by priority: of what waits, 1 is taken first."""
RUNS_AT_ONCE_MAX = 64
AUTOMATION = "shotwise-silent-runs"

_SERVER_S_MAX = 120.0
_LOOK_AGAIN_S = 0.1

FILE = Path(__file__).parent / "prefect.yaml"


def apply() -> None:
    """Pool, queues, automation, deployments; what is paused stays so."""
    declared = yaml.safe_load(FILE.read_text())
    names = [_full_name(deployment) for deployment in declared["deployments"]]
    with get_client(sync_client=True) as client:
        _await_server(client)
        _pool(client)
        for name, priority in QUEUES.items():
            _queue(client, name, priority)
        _automation(client)
        declared["deployments"] = [
            with_pauses(deployment, _known(client, name))
            for deployment, name in zip(declared["deployments"], names, strict=True)
        ]
    with _file_of(declared) as path:
        _deployments(path)


def _full_name(deployment: Mapping[str, Any]) -> str:
    """The flow's name and the deployment's."""
    module, _, function = deployment["entrypoint"].rpartition(".")
    return f"{getattr(import_module(module), function).name}/{deployment['name']}"


def _known(client: SyncPrefectClient, name: str) -> dict[str, Any] | None:
    try:
        return client.read_deployment_by_name(name).model_dump(mode="json")
    except ObjectNotFound:
        return None


@contextmanager
def _file_of(declared: Mapping[str, Any]) -> Iterator[Path]:
    with TemporaryDirectory(prefix="shotwise-") as folder:
        path = Path(folder) / FILE.name
        path.write_text(yaml.safe_dump(declared, sort_keys=False))
        yield path


def _await_server(client: SyncPrefectClient) -> None:
    """It may have been started just now, beside this process."""
    give_up = time.monotonic() + _SERVER_S_MAX
    while error := client.api_healthcheck():
        if time.monotonic() > give_up:
            raise error
        time.sleep(_LOOK_AGAIN_S)


def _pool(client: SyncPrefectClient) -> None:
    template = ProcessWorker.get_default_base_job_template()
    # Without a command of ours, a second process works out for every run what this one says.
    template["variables"]["properties"]["command"]["default"] = "python -m prefect.engine"
    try:
        client.read_work_pool(WORK_POOL)
        client.update_work_pool(WORK_POOL, WorkPoolUpdate(base_job_template=template))
    except ObjectNotFound:
        client.create_work_pool(
            WorkPoolCreate(
                name=WORK_POOL,
                type="process",
                description="Processes on the machines where a worker runs.",
                base_job_template=template,
                concurrency_limit=RUNS_AT_ONCE_MAX,
            )
        )


def _queue(client: SyncPrefectClient, name: str, priority: int) -> None:
    routes = f"/work_pools/{WORK_POOL}/queues"
    known = {queue["name"] for queue in client._client.post(f"{routes}/filter", json={}).json()}
    if name in known:
        client._client.patch(f"{routes}/{name}", json={"priority": priority})
    else:
        client._client.post(f"{routes}/", json={"name": name, "priority": priority})


def _automation(client: SyncPrefectClient) -> None:
    """A flow run that sent heartbeats and sends none any more is Crashed; the keeper decides what follows."""
    beat = "prefect.flow-run.heartbeat"
    final = ("Completed", "Failed", "Cancelled", "Crashed", "Interrupted")
    ends = {f"prefect.flow-run.{name}" for name in final}
    message = "No heartbeat: the process or its machine is gone."
    automation = {
        "name": AUTOMATION,
        "description": "Three heartbeats missed: the process or its machine is gone.",
        "trigger": {
            "type": "event",
            "posture": "Proactive",
            "after": [beat],
            "expect": sorted({beat, *ends}),
            "match": {"prefect.resource.id": ["prefect.flow-run.*"]},
            "for_each": ["prefect.resource.id"],
            "threshold": 1,
            "within": 3 * HEARTBEAT_S,
        },
        "actions": [{"type": "change-flow-run-state", "state": "CRASHED", "message": message}],
    }
    named = {"automations": {"name": {"any_": [AUTOMATION]}}}
    known = client._client.post("/automations/filter", json=named).json()
    if known:  # one that somebody disabled stays so
        kept = {"enabled": known[0]["enabled"]}
        client._client.put(f"/automations/{known[0]['id']}", json=automation | kept)
    else:
        client._client.post("/automations/", json=automation)


def _deployments(path: Path) -> None:
    """By Prefect's own command, so that what it says of the file is what anybody gets who runs it by hand."""
    from prefect.cli import app

    sys.argv = ["prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(path)]
    try:
        app()
    except SystemExit as end:
        if end.code:
            raise


if __name__ == "__main__":
    apply()
