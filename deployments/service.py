"""A process of the team's: started once, found again by any later command, and ended only if it is ours.

What is recorded is the process id with its start time, so that a number which the kernel has given to
somebody else is never mistaken for ours.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from shotwise.errors import RunFailedError

_POLL_S = 0.05
_LOG_BYTES_MAX = 50_000_000


@dataclass(frozen=True)
class Service:
    """One process, in a session and process group of its own.

    Attributes:
        name: of its record and its log.
        folder: where the record is kept.
        log: what it prints.
        command, environment: all of it; nothing is inherited.
    """

    name: str
    folder: Path
    log: Path
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)

    def start(self) -> bool:
        """Start it unless it runs; whether it had to be started."""
        if self.process() is not None:
            return False
        for folder in (self.folder, self.log.parent):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        is_full = self.log.exists() and self.log.stat().st_size > _LOG_BYTES_MAX
        with self.log.open("wb" if is_full else "ab") as log:
            child = subprocess.Popen(
                self.command,
                # Away from the user's folder: Prefect takes settings from files that it finds there.
                cwd=self.folder,
                env=dict(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        child.returncode = 0  # it outlives this process, which is no mistake to warn of
        _write(self._record, {"pid": child.pid, "started": psutil.Process(child.pid).create_time()})
        return True

    def process(self) -> psutil.Process | None:
        """The running process, None where it does not run."""
        try:
            record = json.loads(self._record.read_bytes())
            process = psutil.Process(record["pid"])
            if process.create_time() != record["started"] or process.status() == psutil.STATUS_ZOMBIE:
                return None
            return process
        except (FileNotFoundError, ValueError, psutil.NoSuchProcess):
            return None

    def check_alive(self) -> None:
        """Raise RunFailedError, which names the log, if it has ended."""
        if self.process() is None:
            raise RunFailedError(f"{self.name} ended; see {self.log}")

    def kill(self) -> None:
        """End it and all that it started at once, as a power cut would; the record stays."""
        for member in self.members():
            _signal(member, signal.SIGKILL)

    def members(self) -> list[psutil.Process]:
        """The process and all that it started, in whatever session; none where it does not run."""
        process = self.process()
        if process is None:
            return []
        with suppress(psutil.NoSuchProcess):
            return [process, *process.children(recursive=True)]
        return []

    def forget(self) -> None:
        """Drop the record of a process that has ended."""
        self._record.unlink(missing_ok=True)

    @property
    def _record(self) -> Path:
        return self.folder / f"{self.name}.json"


def stop(services: Sequence[Service], timeout_s: float) -> None:
    """Ask services and all that they started to end, and end what is left after `timeout_s`. Idempotent."""
    members = [member for service in services for member in service.members()]
    for member in members:
        _signal(member, signal.SIGTERM)
    deadline = time.monotonic() + timeout_s
    while _any_alive(members) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    for member in members:
        _signal(member, signal.SIGKILL)
    for service in services:
        service.forget()


def _any_alive(members: list[psutil.Process]) -> bool:
    def alive(process: psutil.Process) -> bool:
        with suppress(psutil.NoSuchProcess):
            return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
        return False

    for process in members:
        _reap(process.pid)
    return any(alive(process) for process in members)


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    with suppress(psutil.NoSuchProcess):  # which it raises for a number that is now somebody else's, too
        process.send_signal(number)


def _reap(pid: int) -> None:
    """Only a child of this very process needs it."""
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def _write(path: Path, content: dict[str, float]) -> None:
    part = path.with_name(f"{path.name}.{os.getpid()}")
    part.write_text(json.dumps(content))
    part.replace(path)
