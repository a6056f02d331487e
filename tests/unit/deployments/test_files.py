"""The files of the room agree with the code that they configure."""

import re
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml

import deployments
from deployments.apply import QUEUES, WORK_POOL
from deployments.environment import mlflow_names
from deployments.exposure import MLFLOW_HOSTS, Exposure
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


@pytest.mark.filterwarnings("ignore")  # MLflow\'s own, at its first import
def test_mlflow_answers_to_the_names_that_containers_and_the_proxy_use() -> None:
    from mlflow.server.security_utils import is_allowed_host_header

    services = yaml.safe_load((ROOM / "scale" / "compose.yaml").read_text())["services"]
    named = services["mlflow"]["environment"][MLFLOW_HOSTS]
    told = {MLFLOW_HOSTS: re.sub(r"\$\{.*\}", "mlflow.example.org", named)}
    allowed = mlflow_names(Exposure.asked("0.0.0.0", 5050, told), 5050)[MLFLOW_HOSTS].split(",")
    from_containers = services["worker"]["environment"]["MLFLOW_TRACKING_URI"].removeprefix("http://")
    assert is_allowed_host_header(allowed, from_containers)
    assert is_allowed_host_header(allowed, "mlflow.example.org")
    assert not is_allowed_host_header(allowed, "elsewhere.net")


def test_an_image_takes_what_the_wheel_is_made_of_and_no_secret() -> None:
    root = ROOM.parent
    lines = (root / ".dockerignore").read_text().splitlines()
    left_out = {line for line in lines if line and not line.startswith("#")}
    assert left_out >= {".env", "**/.env", ".git", ".shotwise", ".venv", "build", "**/__pycache__"}
    copies = re.findall(r"^COPY (.+) (\S+)$", (ROOM / "scale" / "Dockerfile").read_text(), re.MULTILINE)
    copied = [(source, target) for sources, target in copies for source in sources.split()]
    project = tomllib.loads((root / "pyproject.toml").read_text())
    rooms = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    about = ["pyproject.toml", project["project"]["readme"], *project["project"]["license-files"]]
    assert sorted(copied) == sorted(
        [(room, f"/src/{room}") for room in rooms] + [(name, "/src/") for name in [*about, "constraints.txt"]]
    )
    assert all((root / source).exists() for source, _ in copied)
    assert not [source for source, _ in copied for pattern in left_out if fnmatch(source, pattern)]


def test_git_takes_no_secret_of_the_containers() -> None:
    assert {".env", "**/.env"} <= set((ROOM.parent / ".gitignore").read_text().splitlines())


def test_comments_name_files_that_exist() -> None:
    scale = ROOM / "scale"
    for path in (*scale.glob("helm/*.yaml"), *scale.glob("work-pools/*"), scale / "compose.yaml"):
        named = re.findall(r"`([\w./-]+\.(?:json|yaml|env))`", path.read_text())
        assert [name for name in named if not (scale / name).exists()] == []


def test_a_work_pools_template_gets_our_defaults_and_nothing_unknown() -> None:
    base = {"variables": {"properties": {"image": {"type": "string"}}}}
    assert with_defaults(base, {"image": "a"})["variables"]["properties"]["image"]["default"] == "a"
    with pytest.raises(KeyError):
        with_defaults(base, {"imgae": "a"})


def test_everything_is_pinned() -> None:
    lines = (ROOM.parent / "constraints.txt").read_text().split()
    assert [line for line in lines if line.count("==") != 1 or "/" in line] == []
