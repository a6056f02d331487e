"""Who may reach the services: this machine alone, unless credentials are set.

Whoever reaches Prefect's API can have a worker run a command of his choice, and whoever reaches MLflow can
delete what it holds. So a service that listens beyond loopback without credentials does not start at all.
"""

from __future__ import annotations

import configparser
import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from shotwise.errors import CannotRunError
from shotwise.home import Home

PREFECT_CREDENTIALS = "PREFECT_SERVER_API_AUTH_STRING"
MLFLOW_PASSWORD = "SHOTWISE_MLFLOW_ADMIN_PASSWORD"
MLFLOW_SECRET = "MLFLOW_FLASK_SERVER_SECRET_KEY"
ORIGINS = "SHOTWISE_ORIGINS"
MLFLOW_ADMIN = "admin"
_PASSWORD_LENGTH_MIN = 12


@dataclass(frozen=True)
class Exposure:
    """Where the services listen, and what they ask of whoever comes.

    Attributes:
        host: address to listen on.
        origins: of the pages that a browser may call Prefect's API from.
        prefect_credentials: USER:PASSWORD, None where nothing is asked.
        mlflow_password: of MLflow's `admin`, None where nothing is asked.
        mlflow_secret: signs MLflow's forms.
    """

    host: str
    origins: tuple[str, ...]
    prefect_credentials: str | None = field(default=None, repr=False)
    mlflow_password: str | None = field(default=None, repr=False)
    mlflow_secret: str | None = field(default=None, repr=False)

    @property
    def is_local(self) -> bool:
        return _is_loopback(self.host)

    @property
    def address(self) -> str:
        """Where this machine's own processes reach the services."""
        return "127.0.0.1" if self.host in ("0.0.0.0", "::") else self.host


def exposure(host: str, prefect_port: int, environment: Mapping[str, str] = os.environ) -> Exposure:
    """How the services may listen on `host`.

    Raises:
        CannotRunError: `host` is not loopback, and a credential is missing or weak.
    """
    own = (
        f"http://{host}:{prefect_port}",
        *((f"http://localhost:{prefect_port}",) if _is_loopback(host) else ()),
    )
    named = tuple(
        origin.strip().rstrip("/") for origin in environment.get(ORIGINS, "").split(",") if origin.strip()
    )
    asked = Exposure(
        host,
        named or own,
        environment.get(PREFECT_CREDENTIALS) or None,
        environment.get(MLFLOW_PASSWORD) or None,
        environment.get(MLFLOW_SECRET) or None,
    )
    if not asked.is_local:
        _check(asked, named)
    return asked


def mlflow_accounts(home: Home, asked: Exposure) -> Path | None:
    """MLflow's own settings for its accounts: whoever is not given a permission has none. None where all may.

    The file is readable by its owner alone: it holds the administrator's first password.
    """
    if asked.mlflow_password is None:
        return None
    content = configparser.ConfigParser(interpolation=None)
    content["mlflow"] = {
        "default_permission": "NO_PERMISSIONS",
        "database_uri": f"sqlite:///{home.root / 'team' / 'mlflow-accounts.db'}",
        "admin_username": MLFLOW_ADMIN,
        "admin_password": asked.mlflow_password,
        "authorization_function": "mlflow.server.auth:authenticate_request_basic_auth",
    }
    path = home.root / "team" / "mlflow-accounts.ini"
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        content.write(file)
    return path


def _check(asked: Exposure, named_origins: tuple[str, ...]) -> None:
    user, _, password = (asked.prefect_credentials or "").partition(":")
    if not user or len(password) < _PASSWORD_LENGTH_MIN:
        _refuse(
            asked, PREFECT_CREDENTIALS, f"set it to USER:PASSWORD, {_PASSWORD_LENGTH_MIN} characters or more"
        )
    if len(asked.mlflow_password or "") < _PASSWORD_LENGTH_MIN:
        _refuse(asked, MLFLOW_PASSWORD, f"set it, {_PASSWORD_LENGTH_MIN} characters or more")
    if len(asked.mlflow_secret or "") < _PASSWORD_LENGTH_MIN:
        _refuse(asked, MLFLOW_SECRET, "set it to a long random text")
    if not named_origins or "*" in named_origins:
        _refuse(asked, ORIGINS, "set it to the pages' addresses, as in https://prefect.example.org")


def _refuse(asked: Exposure, variable: str, remedy: str) -> None:
    problem = f"{variable} is missing or weak, and only loopback needs no credentials"
    raise CannotRunError("--host", asked.host, problem, remedy)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
