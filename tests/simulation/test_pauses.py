"""A team's Prefect server keeps what was paused there when the deployments are applied again."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from deployments.environment import client_environment, prefect_environment
from deployments.exposure import Exposure
from deployments.pauses import paused_deployments
from shotwise.home import Home
from shotwise.team import Team

PAUSE = """
from prefect.client.orchestration import get_client

with get_client(sync_client=True) as client:
    hourly = client.read_deployment_by_name("qaoa/maxcut-hourly")
    client.set_deployment_paused_state(hourly.id, True)
    scan = client.read_deployment_by_name("vqe/scan-weekly")
    (one,) = [schedule for schedule in scan.schedules if schedule.slug == "r0.74"]
    client.update_deployment_schedule(scan.id, one.id, active=False)
    nightly = client.read_deployment_by_name("vqe/h2-nightly")
    client.update_deployment_schedule(nightly.id, nightly.schedules[0].id, active=False)
"""
_STARTS_S_MAX = 120.0


@pytest.fixture
def team(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, dict[str, str]]]:
    """The address of a team's Prefect server, and the environment of its clients."""
    monkeypatch.setenv("DATABASE_URL", "sqlite://")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    home, asked = Home(tmp_path / "home").make(), Exposure.asked("127.0.0.1", port)
    told = prefect_environment(home, asked, port, f"sqlite+aiosqlite:///{tmp_path / 'prefect.db'}")
    url = f"http://127.0.0.1:{port}/api"
    server = subprocess.Popen(
        [sys.executable, "-m", "deployments.prefect_service", "127.0.0.1", str(port)],
        cwd=tmp_path,
        env=os.environ | told,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        give_up = time.monotonic() + _STARTS_S_MAX
        while time.monotonic() < give_up:
            with suppress(OSError), urllib.request.urlopen(f"{url}/health", timeout=5):
                break
            time.sleep(0.1)
        yield url, client_environment(home, asked, Team(url, "http://127.0.0.1:1", None))
    finally:
        server.terminate()
        server.wait()


@pytest.mark.campaign
@pytest.mark.timeout(600)
def test_what_was_paused_in_prefect_outlives_the_next_up(
    tmp_path: Path, team: tuple[str, dict[str, str]]
) -> None:
    url, environment = team

    def do(*arguments: str) -> None:
        command = [sys.executable, *arguments]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr[-3000:]

    do("-m", "deployments.apply")
    assert paused_deployments(url, None) == []
    do("-c", PAUSE)
    paused = ["qaoa/maxcut-hourly", "vqe/h2-nightly", "vqe/scan-weekly (r0.74)"]
    assert paused_deployments(url, None) == paused
    do("-m", "deployments.apply")
    assert paused_deployments(url, None) == paused
