"""`shotwise ui`: what it starts ends with it, at whatever moment, and no password is shown."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows import ui
from shotwise.errors import RunFailedError
from shotwise.home import Home


class Server:
    """Stands in for Prefect's, which comes up when it is told to."""

    def __init__(self) -> None:
        self.up, self.stopped = threading.Event(), False

    def wait(self) -> str:
        self.up.wait()
        return "http://127.0.0.1:4200/api"

    def stop(self) -> None:
        self.stopped = True
        self.up.set()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    server = Server()
    monkeypatch.setattr(ui.PrefectServer, "start", lambda home: server)
    monkeypatch.setattr(ui, "_check_port", lambda: None)
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_BACKEND_STORE_URI"):
        monkeypatch.delenv(name, raising=False)
    return server


@pytest.fixture(autouse=True)
def _no_signal_ends_the_tests() -> Iterator[None]:
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    yield
    signal.signal(signal.SIGTERM, before)


def ask_to_end() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.timeout(60)
def test_a_signal_while_they_start_leaves_nothing(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[subprocess.Popen[bytes]] = []

    def start(home: Home) -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]))
        ask_to_end()
        return started[0]

    monkeypatch.setattr(ui, "_start_mlflow", start)
    try:
        ui.serve(Home(tmp_path))
        assert started[0].poll() is not None
    finally:
        server.up.set()
        started[0].kill()
        started[0].wait()
    assert server.stopped


@pytest.mark.timeout(60)
def test_an_mlflow_that_does_not_come_up_is_said_and_the_other_ends(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ui, "_start_mlflow", lambda home: subprocess.Popen([sys.executable, "-c", ""]))
    server.up.set()
    with pytest.raises(RunFailedError, match="did not come up"):
        ui.serve(Home(tmp_path))
    assert server.stopped


@pytest.mark.timeout(60)
def test_an_mlflow_server_that_there_is_is_only_named(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setattr(ui, "_start_mlflow", lambda home: pytest.fail("started a second one"))
    said: list[str] = []

    def hear(line: str) -> None:
        said.append(line)
        if line.startswith("Ctrl-C"):
            ask_to_end()

    monkeypatch.setattr(ui.click, "echo", hear)
    server.up.set()
    ui.serve(Home(tmp_path))
    assert "MLflow    http://127.0.0.1:9" in said
    assert server.stopped


def test_no_argument_of_mlflow_tells_the_address_of_its_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = "postgresql://me:secret@127.0.0.1/mlflow"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    seen: dict[str, object] = {}
    monkeypatch.setattr(ui.subprocess, "Popen", lambda command, **rest: seen.update(rest, command=command))
    ui._start_mlflow(Home(tmp_path))
    assert "secret" not in str(seen["command"])
    environment = seen["env"]
    assert isinstance(environment, dict)
    assert environment["MLFLOW_BACKEND_STORE_URI"] == address
