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
from urllib.parse import urlsplit

from shotwise.errors import CannotRunError
from shotwise.home import Home

PREFECT_CREDENTIALS = "PREFECT_SERVER_API_AUTH_STRING"
MLFLOW_PASSWORD = "SHOTWISE_MLFLOW_ADMIN_PASSWORD"
MLFLOW_SECRET = "MLFLOW_FLASK_SERVER_SECRET_KEY"
ORIGINS = "SHOTWISE_ORIGINS"
MLFLOW_HOSTS = "MLFLOW_SERVER_ALLOWED_HOSTS"
MLFLOW_ADMIN = "admin"
_PASSWORD_LENGTH_MIN = 12
_ORIGINS_REMEDY = "set it to the pages' addresses, as in https://prefect.example.org"


@dataclass(frozen=True)
class Exposure:
    """Where the services listen, and what they ask of whoever comes.

    Attributes:
        host: address to listen on.
        origins: of the pages that a browser may call Prefect's API from.
        mlflow_hosts: names under which MLflow is asked for, beside this machine's own.
        prefect_credentials: USER:PASSWORD, None where nothing is asked.
        mlflow_password: of MLflow's `admin`, None where nothing is asked.
        mlflow_secret: signs MLflow's forms.
    """

    host: str
    origins: tuple[str, ...]
    mlflow_hosts: tuple[str, ...]
    prefect_credentials: str | None = field(default=None, repr=False)
    mlflow_password: str | None = field(default=None, repr=False)
    mlflow_secret: str | None = field(default=None, repr=False)

    @classmethod
    def asked(cls, host: str, prefect_port: int, environment: Mapping[str, str] = os.environ) -> Exposure:
        """What the environment asks for; whether it may be so is for `check` to say."""
        names = (host, "localhost") if _is_loopback(host) else ()
        own = dict.fromkeys(f"http://{in_url(name)}:{prefect_port}" for name in names)
        named = tuple(origin.rstrip("/") for origin in _listed(environment.get(ORIGINS, "")))
        of_pages = dict.fromkeys(in_url(page) for origin in named if (page := _page_host(origin)))
        return cls(
            host,
            named or tuple(own),
            _listed(environment.get(MLFLOW_HOSTS, "")) or tuple(of_pages),
            environment.get(PREFECT_CREDENTIALS) or None,
            environment.get(MLFLOW_PASSWORD) or None,
            environment.get(MLFLOW_SECRET) or None,
        )

    @property
    def is_local(self) -> bool:
        return _is_loopback(self.host)

    @property
    def address(self) -> str:
        """Where this machine's own processes reach the services."""
        # Who listens on :: hears IPv6 alone: asyncio makes its sockets so.
        return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)

    def check(self) -> None:
        """Refuse to listen beyond loopback without credentials, and pages that are none.

        Raises:
            CannotRunError: `host` is not loopback, and a credential is missing or weak; or an origin is none.
        """
        for origin in self.origins:
            if _page_host(origin) is None:
                raise CannotRunError(ORIGINS, origin, "not the address of a page", _ORIGINS_REMEDY)
        if self.is_local:
            return
        user, _, password = (self.prefect_credentials or "").partition(":")
        if not user or len(password) < _PASSWORD_LENGTH_MIN:
            self._refuse(
                PREFECT_CREDENTIALS, f"set it to USER:PASSWORD, {_PASSWORD_LENGTH_MIN} characters or more"
            )
        if len(self.mlflow_password or "") < _PASSWORD_LENGTH_MIN:
            self._refuse(MLFLOW_PASSWORD, f"set it, {_PASSWORD_LENGTH_MIN} characters or more")
        if len(self.mlflow_secret or "") < _PASSWORD_LENGTH_MIN:
            self._refuse(MLFLOW_SECRET, "set it to a long random text")
        if not self.origins:
            self._refuse(ORIGINS, _ORIGINS_REMEDY)

    def _refuse(self, variable: str, remedy: str) -> None:
        problem = f"{variable} is missing or weak, and only loopback needs no credentials"
        raise CannotRunError("--host", self.host, problem, remedy)


def exposure(host: str, prefect_port: int, environment: Mapping[str, str] = os.environ) -> Exposure:
    """How the services may listen on `host`.

    Raises:
        CannotRunError: `host` is not loopback, and a credential is missing or weak.
    """
    asked = Exposure.asked(host, prefect_port, environment)
    asked.check()
    return asked


def in_url(host: str) -> str:
    """A host as an address holds it: IPv6 in brackets, which keep its colons from the port's."""
    return f"[{host}]" if ":" in host else host


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


def _listed(text: str) -> tuple[str, ...]:
    """What a variable lists, parted by commas."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _page_host(origin: str) -> str | None:
    """The host of a page's address; None where it is none."""
    try:
        parts = urlsplit(origin)
    except ValueError:
        return None
    return parts.hostname if parts.scheme in ("http", "https") else None


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
