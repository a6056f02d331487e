"""What each process of the team is told, as environment variables; no Prefect setting of the shell is."""

from __future__ import annotations

import os
import sys
import sysconfig
from pathlib import Path

from deployments.exposure import MLFLOW_ADMIN, MLFLOW_HOSTS, Exposure, in_url
from shotwise.home import Home
from shotwise.team import Team
from tasks.prefect_settings import client_settings, server_settings

# Runs whose process is gone are noticed by their silence: three heartbeats.
HEARTBEAT_S = 30

_MLFLOW_ORIGINS = "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"
# What MLflow answers to by itself, which it forgets as soon as it is told of others.
_THIS_MACHINE = ("localhost", "127.0.0.1", "[::1]")
_PRIVATE = ("10.*", "192.168.*", *(f"172.{second}.*" for second in range(16, 32)))


def prefect_environment(home: Home, asked: Exposure, port: int, database_url: str) -> dict[str, str]:
    """Of the Prefect server: all services on, pages of its own origin only, forged requests refused."""
    settings = server_settings(home, f"http://{in_url(asked.host)}:{port}/api")
    services = [
        name for name in settings if name.startswith("PREFECT_SERVER_SERVICES_") and name.endswith("_ENABLED")
    ]
    for name in services:
        del settings[name]
    settings |= {
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": database_url,
        "PREFECT_SERVER_CSRF_PROTECTION_ENABLED": "true",
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": ",".join(asked.origins),
        "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "20",
    }
    # Several servers share their work through Redis; see docs/team.md. Passed on as the user named them.
    shared = ("PREFECT_MESSAGING_", "PREFECT_REDIS_", "PREFECT_SERVER_EVENTS_", "PREFECT_SERVER_CONCURRENCY_")
    shared += ("PREFECT_SERVER_DOCKET_", "PREFECT_SERVER_WORKER_CHANNEL_", "PREFECT_SERVER_API_AUTH_STRING")
    settings |= {name: value for name, value in os.environ.items() if name.startswith(shared)}
    return settings | _python_path()


def client_environment(home: Home, asked: Exposure, team: Team) -> dict[str, str]:
    """Of everything that speaks to the services: workers, the flows that they start, the keeper."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    settings = client_settings(home, team.prefect_api_url, own=False)
    settings |= {
        "PREFECT_HOME": str(home.prefect),
        "PREFECT_PROFILE": "local",
        "PREFECT_SERVER_EPHEMERAL_ENABLED": "false",
        "PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED": "false",
        # A server that is away for a minute is waited for.
        "PREFECT_CLIENT_MAX_RETRIES": "8",
        "PREFECT_CLIENT_RETRY_EXTRA_CODES": "503",
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_S),
        "PREFECT_WORKER_QUERY_SECONDS": os.environ.get("PREFECT_WORKER_QUERY_SECONDS", "3"),
        # Flow runs are started as `python`: this one.
        "PATH": os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", os.defpath)]),
        "SHOTWISE_HOME": str(home.root),
        "DATABASE_URL": team.journal_url(),
        "MLFLOW_TRACKING_URI": team.mlflow_url,
        "JAX_COMPILATION_CACHE_DIR": str(home.compile_cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.05",
    }
    if asked.prefect_credentials:
        settings["PREFECT_API_AUTH_STRING"] = asked.prefect_credentials
    if asked.mlflow_password:
        settings |= {
            "MLFLOW_TRACKING_USERNAME": MLFLOW_ADMIN,
            "MLFLOW_TRACKING_PASSWORD": asked.mlflow_password,
        }
    return kept | settings | _python_path()


def mlflow_environment(accounts: Path | None, database_url: str) -> dict[str, str]:
    """Of the MLflow server; its database is named here, where no list of processes shows it."""
    kept = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    # Its own job runner is half a dozen processes for services that are not used here.
    told = {"MLFLOW_BACKEND_STORE_URI": database_url, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    if accounts:
        told["MLFLOW_AUTH_CONFIG_PATH"] = str(accounts)
    return kept | told | {"MLFLOW_DISABLE_TELEMETRY": "true"} | _python_path()


def mlflow_names(asked: Exposure, port: int) -> dict[str, str]:
    """Names that MLflow answers to, and the pages that may change what it holds: its own, under these names.

    A browser names the page's origin in a page's own requests too, and MLflow knows no origin but localhost.
    """
    names = tuple(dict.fromkeys((in_url(asked.host), *asked.mlflow_hosts)))
    hosts = [form for name in (*_THIS_MACHINE, *names) for form in (name, _with_any_port(name))]
    pages = [
        page for name in names if "*" not in name for page in (f"https://{name}", f"http://{name}:{port}")
    ]
    return {
        MLFLOW_HOSTS: ",".join(dict.fromkeys((*hosts, *_PRIVATE))),
        _MLFLOW_ORIGINS: os.environ.get(_MLFLOW_ORIGINS) or ",".join(pages),
    }


def _with_any_port(name: str) -> str:
    """As a shell's pattern, to which a bracket is the beginning of a set."""
    return f"{name.replace('[', '[[]')}:*"


def _python_path() -> dict[str, str]:
    """Where this code is, if it is not installed."""
    source_root = Path(__file__).resolve().parents[1]
    if source_root == Path(sysconfig.get_path("purelib")):
        return {}
    paths = [str(source_root), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {"PYTHONPATH": os.pathsep.join(dict.fromkeys(paths))}
