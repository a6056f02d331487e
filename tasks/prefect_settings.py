"""Prefect's settings, as environment variables: it reads them while it is imported, so they come first."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Final

from shotwise.home import Home

OWN_SERVER_VARIABLE: Final = "SHOTWISE_PREFECT_URL"
"""Holds the address that this project put into `PREFECT_API_URL`, to tell it from one of the user's."""

_PRIVATE: Final = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",
    "PREFECT_TELEMETRY_ENABLE_RESOURCE_METRICS": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
}

# A server of one's own, on loopback, that is up: no handshakes, and a dead one is noticed in seconds.
_OWN_CLIENT: Final = {
    # Named, because a profile of the user's that this PREFECT_HOME lacks makes Prefect write to the terminal.
    "PREFECT_PROFILE": "local",
    "PREFECT_SERVER_EPHEMERAL_ENABLED": "false",
    "PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED": "false",
    "PREFECT_CLIENT_CSRF_SUPPORT_ENABLED": "false",
    # 2, 4, 8 and 16 s: on SQLite the server answers 503 while two drivers write at once.
    "PREFECT_CLIENT_MAX_RETRIES": "4",
}

# Schedules, work pools, automations: a server that lives as long as its runs serves no deployment.
_SERVICES_OFF: Final = (
    "SCHEDULER",
    "LATE_RUNS",
    "FOREMAN",
    "PAUSE_EXPIRATIONS",
    "CANCELLATION_CLEANUP",
    "CLEANUP_RECONCILER",
    "TRIGGERS",
)


def client_settings(home: Home, url: str, *, own: bool) -> dict[str, str]:
    """Settings of a process that runs flows against `url`; `own` where this project started that server.

    A user's own `PREFECT_LOGGING_LEVEL` stays as it is, and so does their `PREFECT_HOME` beside their server.
    """
    settings = _PRIVATE | {"PREFECT_API_URL": url}
    settings["PREFECT_LOGGING_SETTINGS_PATH"] = str(_quiet_logging(home))
    settings["PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW"] = "ignore"
    if own:
        own_folder = {"PREFECT_HOME": str(home.prefect), OWN_SERVER_VARIABLE: url}
        return settings | _OWN_CLIENT | _no_proxy() | own_folder
    return settings | {"PREFECT_HOME": os.environ.get("PREFECT_HOME", str(home.prefect))}


def apply_client_settings(home: Home) -> None:
    """Make this process a client of the server in `PREFECT_API_URL`. Call before Prefect is first used."""
    os.environ.update(client_settings(home, os.environ["PREFECT_API_URL"], own=False))


def server_settings(home: Home, url: str) -> dict[str, str]:
    """The server's whole environment. Runs share it, so no Prefect setting of one run's shell reaches it."""
    # PYTHONWARNINGS=error, set for one's own code, would end the server at its first import.
    dropped = ("PREFECT_", "PYTHONWARNINGS")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    services = {f"PREFECT_SERVER_SERVICES_{name}_ENABLED": "false" for name in _SERVICES_OFF}
    return (
        kept
        | _PRIVATE
        | services
        | {
            "PREFECT_HOME": str(home.prefect),
            "PREFECT_PROFILE": "local",
            # The page asks this address, which by default is that of Prefect's own port.
            "PREFECT_SERVER_UI_API_URL": url,
            "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
            "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{home.prefect / 'prefect.db'}",
            "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_FLUSH_INTERVAL": "1",
            # A task run is three events, Pending to Completed: one transaction for them, not three.
            "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "3",
            "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
        }
    )


def _no_proxy() -> dict[str, str]:
    """Prefect's HTTP and websocket clients send even loopback through the user's proxy, unless told."""
    if not any(os.environ.get(name) for name in _PROXY_VARIABLES):
        return {}
    hosts = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    merged = ",".join(dict.fromkeys([*filter(None, hosts.split(",")), "127.0.0.1"]))
    return {"no_proxy": merged, "NO_PROXY": merged}


_PROXY_VARIABLES: Final = ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY")


_LOG_LINE: Final = "%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s"


def _quiet_logging(home: Home) -> Path:
    """A logging configuration for the client: to the API and to a file, never to the terminal.

    Prefect's default one also takes over the root logger, and with it every other library's warnings.
    """
    home.prefect.mkdir(parents=True, exist_ok=True, mode=0o700)
    home.logs.mkdir(exist_ok=True, mode=0o700)
    to_file = {"handlers": ["file"], "propagate": False}
    to_api = {"level": "NOTSET", "handlers": ["api"]}
    log = str(home.logs / "prefect-client.log").replace("$", "$$")
    content = json.dumps(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"plain": {"format": _LOG_LINE}},
            "handlers": {
                "api": {"class": "prefect.logging.handlers.APILogHandler", "level": 0},
                "worker_api": {"class": "prefect.logging.handlers.WorkerAPILogHandler", "level": 0},
                "file": {
                    "class": "logging.FileHandler",
                    "filename": log,
                    "delay": True,
                    "formatter": "plain",
                    "level": "WARNING",
                },
            },
            "loggers": {
                "prefect": {"level": "${PREFECT_LOGGING_LEVEL}", **to_file},
                "prefect.extra": {**to_api, "propagate": False},
                "prefect.flow_runs": to_api,
                # Only what goes wrong: that each of thousands of task runs finished is said by its state.
                "prefect.task_runs": to_api | {"level": "WARNING"},
                "prefect.workers": {"level": "NOTSET", "handlers": ["worker_api"]},
                "prefect._internal": {"level": "${PREFECT_INTERNAL_LOGGING_LEVEL}", **to_file},
                # Named after the classes of Prefect's background queues.
                "EventsWorker": to_file,
                "APILogWorker": to_file,
                "asyncio": to_file,
                "httpx": to_file,
                "httpcore": to_file,
                "websockets": to_file,
            },
        },
        indent=1,
    )
    path = home.prefect / "logging.yml"
    if not path.exists() or path.read_text() != content:
        part = path.with_name(f"{path.name}.{os.getpid()}")
        part.write_text(content)
        part.replace(path)
    return path
