"""Both UIs on one state folder: Prefect's for what runs, MLflow's for what came out."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import click

from shotwise.errors import CannotRunError, RunFailedError
from shotwise.home import MLFLOW_UI_PORT, Home
from tasks.prefect_server import PrefectServer

_MLFLOW_START_S_MAX = 180.0


def serve(home: Home) -> None:
    """Serve until interrupted; both servers listen on loopback only and end with this process."""
    home.make()
    _check_port()
    server = PrefectServer.start(home)
    try:
        mlflow = _start_mlflow(home)
        try:
            prefect_url = server.wait().removesuffix("/api")
            _wait_for_mlflow(home, mlflow)
            click.echo(f"Prefect   {prefect_url}")
            click.echo(f"MLflow    {home.mlflow_ui_url}")
            click.echo("Ctrl-C ends both.")
            _wait_for_signal(mlflow)
        finally:
            mlflow.terminate()
            mlflow.wait()
    finally:
        server.stop()


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
    """MLflow's own server on the store that the runs are tracked in."""
    home.logs.mkdir(parents=True, exist_ok=True)
    home.mlflow_artifacts.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(MLFLOW_UI_PORT)]
    command += ["--backend-store-uri", home.mlflow_uri, "--workers", "1"]
    command += ["--default-artifact-root", home.mlflow_artifacts.as_uri()]
    with (home.logs / "mlflow-server.log").open("ab") as log:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=home.root,
            env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"},
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


def _wait_for_signal(process: subprocess.Popen[bytes]) -> None:
    """Return on SIGINT or SIGTERM, or when MLflow's server ends by itself."""

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    try:
        process.wait()
    except KeyboardInterrupt:
        click.echo("ending ...")
