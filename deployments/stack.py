"""A team's services on one machine: PostgreSQL, MLflow, Prefect, workers, and the keeper of dead runs.

`up` starts what does not run and leaves alone what does; `down` ends what `up` started and keeps the state.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

from deployments.databases import Databases
from deployments.environment import client_environment, mlflow_environment, prefect_environment
from deployments.exposure import Exposure, in_url
from deployments.first_up import check_can_hand_over, hand_over_journal, retire_journal
from deployments.pauses import paused_deployments
from deployments.service import Service, stop
from shotwise.errors import CannotRunError, RunFailedError
from shotwise.home import MLFLOW_UI_PORT, Home
from shotwise.team import Team

PREFECT_PORT = 4200
_HEALTHY_S_MAX = 120.0
_POLL_S = 0.1
_OPTIONS = "options.json"
_WORKERS = "worker-[0-9]*"
# A run ends its step before it goes; what it was waiting for is found by the next worker.
_WORKER_STOP_S = 30.0
_STOP_S = 10.0


@dataclass(frozen=True)
class Options:
    """What may be chosen at `up`."""

    host: str = "127.0.0.1"
    prefect_port: int = PREFECT_PORT
    mlflow_port: int = MLFLOW_UI_PORT
    workers: int = 1
    runs_a_worker: int = 4
    keeper_every_s: float = 10.0
    pending_s: float = 180.0
    running_s: float = 30.0

    @classmethod
    def load(cls, folder: Path) -> Options:
        """What was chosen at the last `up`.

        Raises:
            CannotRunError: the file that keeps it is damaged.
        """
        path = folder / _OPTIONS
        try:
            return cls(**json.loads(path.read_bytes()))
        except FileNotFoundError:
            return cls()
        except (ValueError, TypeError):
            remedy = "remove it, then `shotwise down`, and name your choices at the next `shotwise up`"
            raise CannotRunError("SHOTWISE_HOME", path, "is damaged", remedy) from None

    def save(self, folder: Path) -> None:
        """Remember it, whole or not at all: the keeper reads it at any moment."""
        part = folder / f"{_OPTIONS}.{os.getpid()}"
        part.write_text(json.dumps(asdict(self)) + "\n")
        part.replace(folder / _OPTIONS)


class Stack:
    """The services of one state folder."""

    def __init__(self, home: Home, options: Options) -> None:
        self.home, self.options = home, options
        self.exposure = Exposure.asked(options.host, options.prefect_port)
        self.folder = home.root / "team"

    @classmethod
    def saved(cls, home: Home, **chosen: Any) -> Stack:
        """The services as chosen at the last `up`, but for what is chosen now.

        Raises:
            CannotRunError: what was chosen cannot be read.
        """
        return cls(home, replace(Options.load(home.root / "team"), **chosen))

    def up(self, say: Callable[[str], None] = lambda _: None) -> Team:
        """Start what does not run, and wait until all of it answers. Idempotent.

        Raises:
            CannotRunError: a port is taken, the services may not listen where the options say, they run and
                listen elsewhere, or a process outside of the team drives a run of the folder.
            RunFailedError: a service did not come up; names its log.
        """
        self.exposure.check()
        self.home.make()
        for folder in (self.folder, self.home.logs, self.home.mlflow_artifacts):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _alone(self):
            self._check_stays()
            for service, port in (
                (self.prefect, self.options.prefect_port),
                (self.mlflow, self.options.mlflow_port),
            ):
                if service.process() is None:
                    _check_port(self.exposure.host, port, service.name)
            check_can_hand_over(self.home)
            self.options.save(self.folder)
            say("databases ...")
            self.databases.start()
            self._become_team(say)
            say("Prefect and MLflow ...")
            fresh = self.prefect.start()
            self.mlflow.start()
            self._migrate_journal()
            say("deployments ...")
            self._apply(fresh)
            say("worker ...")
            stop(self._surplus_workers(), _WORKER_STOP_S)
            for service in (*self.workers, self.keeper):
                service.start()
            self._await(self.prefect, f"{self.team.prefect_api_url}/health")
            self._await(self.mlflow, f"{self.team.mlflow_url}/health")
            for service in (*self.workers, self.keeper):
                service.check_alive()
        return self.team

    def paused(self) -> list[str]:
        """Deployments that somebody paused, of services that are up.

        Raises:
            RunFailedError: Prefect's server does not say.
        """
        return paused_deployments(self.team.prefect_api_url, self.exposure.prefect_credentials)

    def down(self) -> bool:
        """End what runs, workers first; whether anything did. State stays."""
        if not self.folder.exists():
            return False
        with _alone(self):
            is_up = self._is_up()
            stop(self._recorded("keeper"), _STOP_S)
            stop(self._recorded(_WORKERS), _WORKER_STOP_S)
            stop(self._recorded("prefect", "mlflow"), _STOP_S)
            return self.databases.stop() or is_up

    @cached_property
    def team(self) -> Team:
        """Where the services answer."""
        at = in_url(self.exposure.address)
        return Team(
            f"http://{at}:{self.options.prefect_port}/api",
            f"http://{at}:{self.options.mlflow_port}",
            self.databases.stored_journal_url,
        )

    @cached_property
    def databases(self) -> Databases:
        return Databases.of(self.home)

    @cached_property
    def prefect(self) -> Service:
        port = str(self.options.prefect_port)
        return self._service(
            "prefect",
            ("-m", "deployments.prefect_service", self.exposure.host, port),
            prefect_environment(
                self.home, self.exposure, self.options.prefect_port, self.databases.prefect_url
            ),
        )

    @cached_property
    def mlflow(self) -> Service:
        port = str(self.options.mlflow_port)
        return self._service(
            "mlflow",
            ("-m", "deployments.mlflow_service", self.exposure.host, port),
            mlflow_environment(None, self.databases.mlflow_url) | {"SHOTWISE_HOME": str(self.home.root)},
        )

    @cached_property
    def workers(self) -> tuple[Service, ...]:
        return self.workers_told(self._client_environment)

    def workers_told(self, environment: Mapping[str, str]) -> tuple[Service, ...]:
        """The workers in an environment that is a client's already, such as the keeper's own."""
        return tuple(self._worker(number, environment) for number in range(1, self.options.workers + 1))

    @cached_property
    def keeper(self) -> Service:
        o = self.options
        told = {"--every": o.keeper_every_s, "--pending-s": o.pending_s, "--running-s": o.running_s}
        command = ["-m", "deployments.keeper", "--workers"]
        for name, value in told.items():
            command += [name, str(value)]
        return self._service("keeper", tuple(command), self._client_environment)

    def _worker(self, number: int, environment: Mapping[str, str]) -> Service:
        command = ("-m", "prefect", "worker", "start", "--pool", "shotwise", "--type", "process")
        command += ("--name", f"{socket.gethostname()}-{number}", "--limit", str(self.options.runs_a_worker))
        command += ("--install-policy", "never")
        return self._service(f"worker-{number}", command, environment)

    def _service(self, name: str, arguments: tuple[str, ...], environment: Mapping[str, str]) -> Service:
        log = self.home.logs / f"{name}.log"
        return Service(name, self.folder, log, (sys.executable, *arguments), environment)

    def _recorded(self, *patterns: str) -> list[Service]:
        """What any `up` started, whatever its options were: enough of it to be looked at and ended."""
        paths = [path for pattern in patterns for path in self.folder.glob(f"{pattern}.json")]
        return [
            Service(path.stem, self.folder, self.home.logs / f"{path.stem}.log", (), {}) for path in paths
        ]

    def _surplus_workers(self) -> list[Service]:
        wanted = {worker.name for worker in self.workers}
        return [worker for worker in self._recorded(_WORKERS) if worker.name not in wanted]

    def _is_up(self) -> bool:
        """Whether any process of ours runs; PostgreSQL keeps its own record."""
        recorded = self._recorded("prefect", "mlflow", _WORKERS, "keeper")
        return any(service.process() is not None for service in recorded)

    def _check_stays(self) -> None:
        """Refuse to move what runs: it would go on where it is, and the folder say it were elsewhere."""
        if not self._is_up():
            return
        kept = Options.load(self.folder)
        for name in ("host", "prefect_port", "mlflow_port"):
            runs, asked = getattr(kept, name), getattr(self.options, name)
            if asked != runs:
                option = f"--{name.replace('_', '-')}"
                raise CannotRunError(option, asked, f"the services run with {runs}", "`shotwise down` first")

    @cached_property
    def _client_environment(self) -> dict[str, str]:
        return client_environment(self.home, self.exposure, self.team)

    def _become_team(self, say: Callable[[str], None]) -> None:
        """Have all commands on the folder use the team's services, which know all that the folder knew."""
        handed_over = hand_over_journal(self.home, self.databases.journal_url, say)
        self.team.write(self.home.root)
        if handed_over:
            retire_journal(self.home)

    def _migrate_journal(self) -> None:
        from ledger import Database

        Database(self.team.journal_url()).close()

    def _apply(self, fresh: bool) -> None:
        """In a process of its own, which imports while the server starts; nothing if nothing changed.

        Args:
            fresh: whether the server was started just now, and so may have another database than before.
        """
        mark, applied = fingerprint(), self.folder / "deployments.sha256"
        if not fresh and applied.exists() and applied.read_text() == mark:
            return
        log = self.home.logs / "deployments.log"
        with log.open("ab") as output:
            done = subprocess.run(
                [sys.executable, "-m", "deployments.apply"],
                cwd=self.folder,
                env=self._client_environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                check=False,
            )
        self.prefect.check_alive()
        if done.returncode:
            raise RunFailedError(f"the deployments cannot be applied; see {log}")
        applied.write_text(mark)

    def _await(self, service: Service, url: str) -> None:
        deadline = time.monotonic() + _HEALTHY_S_MAX
        while not _answers(url):
            service.check_alive()
            if time.monotonic() > deadline:
                raise RunFailedError(f"{service.name} does not answer at {url}; see {service.log}")
            time.sleep(_POLL_S)


def fingerprint() -> str:
    """Of all that the deployments are made from: their file, the flows and the spec that is their form."""
    source = Path(__file__).resolve().parents[1]
    files = [*(source / "deployments").glob("*.*"), *(source / "flows").glob("*.py")]
    files += (source / "shotwise" / "spec").glob("*.py")
    digest = hashlib.sha256(version("prefect").encode())
    for path in sorted(files):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def _answers(url: str) -> bool:
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=5):
            return True
    except urllib.error.HTTPError as error:
        error.close()
        return error.code in (401, 403)  # it asks who we are: it is up
    except OSError:
        return False


def _check_port(host: str, port: int, name: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            remedy = f"end what listens there, or choose another with --{name}-port"
            raise CannotRunError(f"--{name}-port", port, error.strerror or str(error), remedy) from None


@contextmanager
def _alone(stack: Stack) -> Iterator[None]:
    """Two commands at once would start everything twice."""
    fd = os.open(stack.folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
