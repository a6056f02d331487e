"""MLflow's server as a process: `python -m deployments.mlflow_service HOST PORT`.

Says who may do what, and is then MLflow. Beyond loopback it refuses to start without credentials.
"""

from __future__ import annotations

import os
import sys

from deployments.environment import mlflow_environment, mlflow_names
from deployments.exposure import exposure, mlflow_accounts
from shotwise.errors import ShotwiseError
from shotwise.home import Home


def main() -> None:
    """Serve until SIGTERM. The environment names the database."""
    host, port = sys.argv[1], int(sys.argv[2])
    home = Home.from_environment().make()
    try:
        asked = exposure(host, port)
    except ShotwiseError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
    accounts = mlflow_accounts(home, asked)
    home.mlflow_artifacts.mkdir(parents=True, exist_ok=True, mode=0o700)
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        "--host",
        host,
        "--port",
        str(port),
        "--workers",
        "1",
    ]
    command += ["--artifacts-destination", home.mlflow_artifacts.as_uri()]
    command += ["--app-name", "basic-auth"] if accounts else []
    environment = mlflow_environment(accounts, os.environ["MLFLOW_BACKEND_STORE_URI"])
    os.execve(command[0], command, environment | mlflow_names(asked, port))


if __name__ == "__main__":
    main()
