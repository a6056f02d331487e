"""The sandbox as a subprocess: started, killed and restarted on the same folder and port."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path
from types import TracebackType

from pydantic import SecretStr

from backends.sandbox.adapter import SandboxProvider
from backends.sandbox.connection import ADDRESS_FILE, KEY_VARIABLE, Timeouts
from backends.sandbox.control import SandboxControl
from backends.sandbox.devices import DEFAULT_DEVICES
from shotwise.errors import CannotRunError

LOG_FILE = "service.log"
_START_S_MAX = 60.0
_STOP_S_MAX = 10.0
_LOOK_AGAIN_S = 0.02
_LOG_TAIL_CHARACTERS = 2000


class SandboxProcess:
    """A context manager around one service process; ends only what it started.

    The service also ends when this process does, however that happens: it watches a pipe that we hold.

    Args:
        folder: where the service keeps its jobs; those of an earlier process are there again.
        queue_scale: multiplies every wait; 0 completes jobs at once.
        key: the API key; SHOTWISE_SANDBOX_KEY, or a fresh random one.
    """

    def __init__(
        self,
        folder: Path,
        *,
        port: int = 0,
        devices: Path = DEFAULT_DEVICES,
        queue_scale: Decimal | int = 1,
        key: SecretStr | None = None,
    ) -> None:
        self.folder = folder
        self.key = key or SecretStr(os.environ.get(KEY_VARIABLE, "").strip() or secrets.token_urlsafe(32))
        self._port, self._devices, self._queue_scale = port, devices, queue_scale
        self._process: subprocess.Popen[bytes] | None = None
        self._url = ""
        self._opened = ExitStack()

    def __repr__(self) -> str:
        return f"SandboxProcess({str(self.folder)!r}, {self._url!r})"

    def __enter__(self) -> SandboxProcess:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.close()
        self.stop()

    @property
    def url(self) -> str:
        """The service's address, the same after a restart."""
        if not self._url:
            raise CannotRunError("sandbox", self.folder, "not started", "call start() first")
        return self._url

    @property
    def pid(self) -> int | None:
        """The running service's, None where it is not running."""
        process = self._process
        return process.pid if process and process.poll() is None else None

    def start(self) -> None:
        """Start the service and wait until it answers.

        Raises:
            CannotRunError: it did not come up; with the end of its log.
        """
        if self.pid is not None:
            return
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        address = self.folder / ADDRESS_FILE
        address.unlink(missing_ok=True)
        with (self.folder / LOG_FILE).open("ab") as log:
            self._process = subprocess.Popen(
                self._command(),
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=log,
                env={**os.environ, KEY_VARIABLE: self.key.get_secret_value()},
                start_new_session=True,  # a Ctrl-C is for us; the service ends when we do
            )
        try:
            self._await_health(address)
        except BaseException:
            self.kill()
            raise
        self._port = int(self._url.rpartition(":")[2])

    def stop(self) -> None:
        """Ask it to end, and end it if it does not. Idempotent."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL, as a crash would. Idempotent."""
        self._end(signal.SIGKILL)

    def provider(self, device: str, timeouts: Timeouts = Timeouts()) -> SandboxProvider:  # noqa: B008 - frozen
        """A new adapter to one of its devices, closed with this context."""
        provider = SandboxProvider.open(device, self.url, key=self.key, timeouts=timeouts)
        self._opened.callback(provider.close)
        return provider

    def control(self) -> SandboxControl:
        """A new client of its faults and clock, closed with this context."""
        control = SandboxControl(self.url, key=self.key)
        self._opened.callback(control.close)
        return control

    def _command(self) -> list[str]:
        return [
            sys.executable,
            "-m",
            "backends.sandbox.serve",
            f"--folder={self.folder}",
            f"--port={self._port}",
            f"--devices={self._devices}",
            f"--queue-scale={self._queue_scale}",
            "--until-stdin-closes",
        ]

    def _await_health(self, address: Path) -> None:
        deadline_s = time.monotonic() + _START_S_MAX
        while time.monotonic() < deadline_s:
            if self.pid is None:
                raise self._not_up("it ended at once")
            if address.exists():
                self._url = address.read_text().strip()
                control = SandboxControl(self._url, key=self.key)
                try:
                    if control.healthy():
                        return
                finally:
                    control.close()
            time.sleep(_LOOK_AGAIN_S)
        raise self._not_up(f"no answer in {_START_S_MAX:.0f} s")

    def _not_up(self, reason: str) -> CannotRunError:
        log = (self.folder / LOG_FILE).read_text(errors="replace")[-_LOG_TAIL_CHARACTERS:].strip()
        return CannotRunError("sandbox", self.folder, reason, f"see its log: {log or 'empty'}")

    def _end(self, with_signal: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        process.stdin.close()
        process.send_signal(with_signal)  # does nothing to a process that has been waited for
        try:
            process.wait(_STOP_S_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
