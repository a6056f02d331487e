"""Tell Prefect's server what the team runs: `python -m deployments.apply`. Idempotent.

The work pool with its queues by priority, the deployments of `prefect.yaml`, and the automation that gives up
flow runs whose process has fallen silent.
"""

from __future__ import annotations

import sys
import time
from datetime import timedelta
from importlib import import_module
from pathlib import Path

import yaml
from httpx import HTTPStatusError
from prefect.automations import AutomationCore
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from prefect.exceptions import ObjectNotFound
from prefect.workers.process import ProcessWorker

from deployments.environment import HEARTBEAT_S

WORK_POOL = "shotwise"
QUEUES = {"critical": 1, "default": 2, "low": 3}
"""Queues by priority: of what waits, 1 is taken first."""
RUNS_AT_ONCE_MAX = 64
AUTOMATION = "shotwise-silent-runs"

_SERVER_S_MAX = 120.0
_LOOK_AGAIN_S = 0.1

FILE = Path(__file__).parent / "prefect.yaml"


def apply() -> None:
    """Pool, queues, automation, deployments."""
    for deployment in yaml.safe_load(FILE.read_text())["deployments"]:
        import_module(deployment["entrypoint"].rpartition(".")[0])
    with get_client(sync_client=True) as client:
        _await_server(client)
        _pool(client)
        for name, priority in QUEUES.items():
            _queue(client, name, priority)
        _automation(client)
    _deployments()


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
    path = f"/work_pools/{WORK_POOL}/queues"
    try:
        client.request("GET", f"{path}/{name}")
        client.request("PATCH", f"{path}/{name}", json={"priority": priority})
    except (ObjectNotFound, HTTPStatusError):
        client.request("POST", f"{path}/", json={"name": name, "priority": priority})


def _automation(client: SyncPrefectClient) -> None:
    """A flow run that sent heartbeats and sends none any more is Crashed; the keeper decides what follows."""
    ends = {
        f"prefect.flow-run.{state}"
        for state in ("Completed", "Failed", "Cancelled", "Crashed", "Interrupted")
    }
    beat = "prefect.flow-run.heartbeat"
    automation = AutomationCore(
        name=AUTOMATION,
        description="Three heartbeats missed: the process or its machine is gone.",
        trigger=EventTrigger(
            after={beat},
            expect={beat, *ends},
            match=ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*"]}),
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=timedelta(seconds=3 * HEARTBEAT_S),
        ),
        actions=[
            ChangeFlowRunState(
                state=StateType.CRASHED, message="No heartbeat: the process or its machine is gone."
            )
        ],
    )
    known = client.request(
        "POST", "/automations/filter", json={"automations": {"name": {"any_": [AUTOMATION]}}}
    ).json()
    content = automation.model_dump(mode="json", exclude={"owner_resource"})
    if known:
        client.request("PUT", f"/automations/{known[0]['id']}", json=content)
    else:
        client.request("POST", "/automations/", json=content)


def _deployments() -> None:
    """By Prefect's own command, so that what it says of the file is what anybody gets who runs it by hand."""
    from prefect.cli import app

    sys.argv = ["prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(FILE)]
    try:
        app()
    except SystemExit as end:
        if end.code:
            raise


if __name__ == "__main__":
    apply()
