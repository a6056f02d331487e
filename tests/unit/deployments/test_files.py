"""The files of the room agree with the code that they configure."""

from pathlib import Path

import pytest
import yaml

import deployments
from deployments.apply import QUEUES, WORK_POOL
from deployments.work_pools import with_defaults
from shotwise.spec import RunSpec

ROOM = Path(deployments.__file__).parent
DEPLOYMENTS = yaml.safe_load((ROOM / "prefect.yaml").read_text())["deployments"]


def ids(deployment: dict) -> str:
    return f"{deployment['entrypoint']}/{deployment['name']}"


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=ids)
def test_a_deployment_can_be_scheduled(deployment: dict) -> None:
    from prefect.client.schemas.schedules import CronSchedule
    from prefect.flows import load_flow_from_entrypoint

    flow = load_flow_from_entrypoint(deployment["entrypoint"], use_placeholder_flow=False)
    assert deployment["work_pool"]["name"] == WORK_POOL
    assert deployment["work_pool"]["work_queue_name"] in QUEUES
    assert deployment["description"]
    schedules = deployment.get("schedules", [])
    assert bool(schedules) != (deployment["name"] == "on-demand")
    for schedule in schedules:
        CronSchedule(cron=schedule["cron"], timezone=schedule["timezone"])
        given = {**deployment.get("parameters", {}), **schedule.get("parameters", {})}
        flow.validate_parameters(given)
        if "spec" in given:
            RunSpec.model_validate(given["spec"])


def test_the_servers_settings_for_redis_are_complete_and_known() -> None:
    from prefect.settings import Settings

    lines = [line for line in (ROOM / "scale" / "prefect-ha.env").read_text().splitlines() if "=" in line]
    told = dict(line.split("=", 1) for line in lines if not line.startswith("#"))
    known = set(Settings().to_environment_variables())
    of_redis = {"PREFECT_REDIS_MESSAGING_URL", "PREFECT_REDIS_WORKER_CLEANUP_QUEUE_URL"}
    assert of_redis <= set(told)
    assert set(told) - known - of_redis == {"PREFECT_MESSAGING_BROKER", "PREFECT_MESSAGING_CACHE"}
    modules = {value for value in told.values() if value.startswith("prefect_redis.")}
    assert modules == {
        f"prefect_redis.{name}" for name in ("messaging", "ordering", "lease_storage", "cleanup_queue")
    }
    helm = yaml.safe_load((ROOM / "scale" / "helm" / "prefect-server.yaml").read_text())["server"]["env"]
    assert {line["name"] for line in helm} >= {
        name for name in told if name.endswith(("BROKER", "CACHE", "STORAGE", "URL"))
    }


def test_containers_run_what_exists() -> None:
    from importlib.util import find_spec

    services = yaml.safe_load((ROOM / "scale" / "compose.yaml").read_text())["services"]
    modules = {
        word
        for service in services.values()
        for word in " ".join(service.get("command", [])).split()
        if word.startswith("deployments.")
    }
    assert modules == {
        f"deployments.{m}" for m in ("databases", "prefect_service", "mlflow_service", "apply", "keeper")
    }
    assert all(find_spec(module) for module in modules)
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_a_work_pools_template_gets_our_defaults_and_nothing_unknown() -> None:
    base = {"variables": {"properties": {"image": {"type": "string"}}}}
    assert with_defaults(base, {"image": "a"})["variables"]["properties"]["image"]["default"] == "a"
    with pytest.raises(KeyError):
        with_defaults(base, {"imgae": "a"})


def test_everything_is_pinned() -> None:
    lines = (ROOM.parent / "constraints.txt").read_text().split()
    assert [line for line in lines if line.count("==") != 1 or "/" in line] == []
