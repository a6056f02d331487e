"""Many machines' worth of configuration on one: two Prefect servers on one Redis and one full PostgreSQL, and
two workers on two queues that share one budget."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import create_engine, text

from backends.fleet import SANDBOX_URL
from backends.sandbox.connection import KEY_VARIABLE
from backends.sandbox.process import SandboxProcess
from deployments.postgresql import PostgreSQL
from deployments.service import Service, stop
from deployments.stack import Options, Stack
from ledger import Currency, Database, Ledger
from shotwise.home import Home
from tests.simulation.command import Folder
from tests.simulation.test_team import free_port

SPEC = """
name: shared
problem: {kind: molecule, geometry: "H 0 0 0; H 0 0 0.7414"}
optimizer: {name: spsa, max_iterations: 30, tolerance: 0}
execution: {mode: shots, shots: 100, device: sandbox-noisy}
account: {tenant: shared}
"""
LIMIT_USD = 300
KEY = SecretStr("test-key-of-the-scale-suite")
_WAIT_S_MAX = 400


@pytest.fixture
def services() -> Iterator[dict[str, str]]:
    """What a platform would provide, as the environment: PostgreSQL, Redis, a provider."""
    redis = shutil.which("redis-server")
    if redis is None:
        pytest.skip("needs redis-server (Debian: apt-get install redis-server)")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="shotwise-")))
        server = PostgreSQL.of(folder / "postgresql", folder / "postgresql.log")
        if not server.installation.is_full:
            pytest.skip("needs a full PostgreSQL (Debian: apt-get install postgresql)")
        server.start()
        stack.callback(server.stop)
        port = free_port()
        command = [redis, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        stack.callback(process.wait)
        stack.callback(process.terminate)
        sandbox = stack.enter_context(SandboxProcess(folder / "sandbox", queue_scale=Decimal(1), key=KEY))
        template = (Path(__file__).parents[2] / "deployments" / "scale" / "prefect-ha.env").read_text()
        lines = [line for line in template.splitlines() if line and not line.startswith("#")]
        settings = dict(line.split("=", 1) for line in lines)
        here = f"127.0.0.1:{port}"
        settings = {name: value.replace("redis:6379", here) for name, value in settings.items()}
        del settings["PREFECT_SERVER_DATABASE_MIGRATE_ON_START"]  # one server here starts before the other
        yield {
            **settings,
            "DATABASE_URL": server.url("shotwise"),
            KEY_VARIABLE: KEY.get_secret_value(),
            SANDBOX_URL: sandbox.url,
            "SHOTWISE_HOME": str(folder / "home"),
        }


@pytest.mark.campaign
@pytest.mark.timeout(600)
def test_two_workers_on_two_queues_share_one_budget(
    services: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in services.items():
        monkeypatch.setenv(name, value)
    home = Home.from_environment()
    extra = {name: services[name] for name in ("DATABASE_URL", KEY_VARIABLE, SANDBOX_URL)}
    team = Folder(home.root, extra=extra)
    stack = Stack(home, Options(prefect_port=free_port(), mlflow_port=free_port(), workers=0))
    stack.up()
    second = _second_server(stack, free_port())
    workers = [_worker(stack, "critical", stack.options.prefect_port), _worker(stack, "low", second[1])]
    try:
        second[0].start()
        for worker in workers:
            worker.start()
        done = team.command("budget", "set", "shared", "--usd", str(LIMIT_USD))
        assert done.returncode == 0, done.stderr
        spec = tmp_path / "shared.yaml"
        spec.write_text(SPEC)
        run_ids = [
            team.json("submit", str(spec), "--queue", queue, "--set", f"seed={seed}")["run_id"]
            for seed, queue in enumerate(["critical", "low"])
        ]
        _wait(team, run_ids)
        _check(team, stack, run_ids)
    finally:
        stop([*workers, second[0]], 30)
        stack.down()


def _check(team: Folder, stack: Stack, run_ids: list[str]) -> None:
    rows = {row["run_id"]: row for row in team.json("status", "--all")}
    reasons = [team.json("show", run_id)["reason"] for run_id in run_ids]
    assert {rows[run_id]["state"] for run_id in run_ids} == {"completed"}, reasons
    assert "budget_reached" in reasons, "the budget must have been too small for both"
    database = Database(stack.home.database_url)
    balance = Ledger(database).balance("shared")
    left = balance.left(Currency.MICRO_USD)
    assert left is not None
    assert left >= 0
    assert balance.held.micro_usd == 0
    assert balance.posted.micro_usd > LIMIT_USD * 1_000_000 // 2
    database.close()
    logs = "".join(path.read_text(errors="replace") for path in stack.home.logs.glob("prefect*.log"))
    assert "localhost:6379" not in logs, "some setting of Redis is missing"
    engine = create_engine(stack.databases.prefect_url.replace("+asyncpg", "+psycopg"))
    with engine.connect() as connection:
        query = "SELECT work_queue_name, state_type FROM flow_run WHERE tags::text LIKE '%shared-%'"
        assert {tuple(row) for row in connection.execute(text(query))} == {
            ("critical", "COMPLETED"),
            ("low", "COMPLETED"),
        }
    engine.dispose()


def _second_server(stack: Stack, port: int) -> tuple[Service, int]:
    command = (sys.executable, "-m", "deployments.prefect_service", "127.0.0.1", str(port))
    log = stack.home.logs / "prefect-2.log"
    return Service("prefect-2", stack.folder, log, command, stack.prefect.environment), port


def _worker(stack: Stack, queue: str, port: int) -> Service:
    command = (sys.executable, "-m", "prefect", "worker", "start", "--pool", "shotwise", "--type", "process")
    command += ("--work-queue", queue, "--name", f"on-{queue}", "--install-policy", "never")
    environment = {**stack.keeper.environment, "PREFECT_API_URL": f"http://127.0.0.1:{port}/api"}
    name = f"worker-{queue}"
    # A worker is started before its server may be up: it tries again.
    shell = ("sh", "-c", 'until "$0" "$@"; do sleep 1; done', *command)
    return Service(name, stack.folder, stack.home.logs / f"{name}.log", shell, environment)


def _wait(team: Folder, run_ids: list[str]) -> None:
    deadline = time.monotonic() + _WAIT_S_MAX
    while time.monotonic() < deadline:
        rows = team.json("status", "--all")
        if all(row["state"] in ("completed", "failed") for row in rows if row["run_id"] in run_ids):
            return
        time.sleep(2)
    raise AssertionError(json.dumps(rows) + f"; see {os.environ['SHOTWISE_HOME']}/logs")
