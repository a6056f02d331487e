"""Both UIs on one state folder: Prefect's for what runs, MLflow's for what came out."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import click

from deployments.environment import mlflow_environment
from shotwise.errors import CannotRunError, RunFailedError
from shotwise.home import MLFLOW_UI_PORT, Home
from shotwise.signals import set_by_signals
from tasks.prefect_server import PrefectServer

_MLFLOW_START_S_MAX = 180.0
_LOOK_EVERY_S = 0.2


def serve(home: Home) -> None:
    """Serve until interrupted; both servers listen on loopback only and end with this process.

    An MLflow server that the user or the team has is not started again, only said.
    """
    home.make()
    has_mlflow = home.mlflow_uri.startswith(("http://", "https://"))
    if not has_mlflow:
        _check_port()
    stop = threading.Event()
    with set_by_signals(stop), ThreadPoolExecutor(1) as beside, ExitStack() as started:
        server = PrefectServer.start(home)
        started.callback(server.stop)
        mlflow = None if has_mlflow else _start_mlflow(home)
        if mlflow is not None:
            started.callback(_end, mlflow)
        up = beside.submit(_say_where, home, server, mlflow)
        while not stop.wait(_LOOK_EVERY_S):
            if up.done():
                up.result()  # raises what kept one of them from coming up
                if mlflow is not None and mlflow.poll() is not None:
                    return
        click.echo("ending ...")


def _say_where(home: Home, server: PrefectServer, mlflow: subprocess.Popen[bytes] | None) -> None:
    """Wait until both are up; beside the main thread, which so hears a signal at any moment."""
    prefect_url = server.wait().removesuffix("/api")
    if mlflow is not None:
        _wait_for_mlflow(home, mlflow)
    click.echo(f"Prefect   {prefect_url}")
    click.echo(f"MLflow    {home.mlflow_uri if mlflow is None else home.mlflow_ui_url}")
    click.echo("Ctrl-C ends what was started here.")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait()


def _check_port() -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", MLFLOW_UI_PORT))
        except OSError:
            raise CannotRunError(
                "port",
                MLFLOW_UI_PORT,
                "taken by another process",
                "end it; is `shotwise ui` running already?",
            ) from None


def _start_mlflow(home: Home) -> subprocess.Popen[bytes]:
    """MLflow's own server on the store that the runs are tracked in.

    Its address may hold a password, so the environment tells it: lists of processes show arguments.
    """
    home.logs.mkdir(parents=True, exist_ok=True)
    home.mlflow_artifacts.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(MLFLOW_UI_PORT)]
    command += ["--workers", "1", "--default-artifact-root", home.mlflow_artifacts.as_uri()]
    with (home.logs / "mlflow-server.log").open("ab") as log:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=home.root,
            env=mlflow_environment(None, home.mlflow_uri),
        )


def _wait_for_mlflow(home: Home, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _MLFLOW_START_S_MAX
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{home.mlflow_ui_url}/health", timeout=2):
                return
        except OSError:
            time.sleep(0.1)
    raise RunFailedError(f"MLflow's server did not come up; see {home.logs / 'mlflow-server.log'}")
