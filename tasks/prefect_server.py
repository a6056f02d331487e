"""The Prefect server that runs on this state folder share, when the user named none with `PREFECT_API_URL`.

Runs on one folder share one server process. What they agree by is kernel locks, which vanish with their
process, so neither `kill -9` nor a reboot leaves anything that misleads:

    <home>/prefect/users.lock    shared by every run; the server waits for it alone, and ends when it gets it
    <home>/prefect/server.lock   held for as long as the server process lives; contains the process id
    <home>/prefect/start.lock    held for the moment in which somebody looks and decides
    <home>/prefect/server.json   the address; believed only while server.lock is held

The port is bound here and handed to the server, so the address is known, and taken, before the server is up:
a caller applies `environment()`, imports Prefect beside the server's start, then calls `wait()`.

Imports nothing but the standard library: the command line loads this module before everything else.
"""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import json
import os
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from shotwise.errors import CannotRunError, RunFailedError
from shotwise.home import Home
from tasks.prefect_settings import OWN_SERVER_VARIABLE, client_settings, server_settings

# Above the supervisor's own limit on its shutdown, so whoever waits outlasts it.
_STOPPING_S_MAX = 80.0
_POLL_S = 0.02
_EXTERNAL_S_MAX = 10.0
_LOG_BYTES_MAX = 1_000_000


class PrefectServer:
    """A run's hold on a Prefect server. `stop()` gives it back; the process's death does so too."""

    def __init__(self, home: Home, url: str, users_fd: int | None, child_pid: int | None) -> None:
        self._home = home
        self._url = url
        self._users_fd = users_fd
        self._child_pid = child_pid

    @classmethod
    def start(cls, home: Home) -> PrefectServer:
        """Use the server of `PREFECT_API_URL`, or join the folder's own server, or start it. Returns at once.

        The one case in which it lingers is a server on this folder that is just ending: up to a second or so.

        Raises:
            RunFailedError: such an ending server does not end.
        """
        if external := _external_url(home):
            return cls(home, external, None, None)
        home.make()
        for folder in (home.prefect, home.logs):
            folder.mkdir(exist_ok=True, mode=0o700)
        with _start_lock(home):
            users_fd = _join(home)
            url, child_pid = _find_or_spawn(home, port=0)
        return cls(home, url, users_fd, child_pid)

    @property
    def is_own(self) -> bool:
        """False for a server that the user named: it is never started nor stopped here."""
        return self._users_fd is not None

    @property
    def was_started_here(self) -> bool:
        """Whether this process started the server, which is not up yet then."""
        return self._child_pid is not None

    @property
    def log_file(self) -> Path:
        return self._home.logs / "prefect-server.log"

    def environment(self) -> dict[str, str]:
        """What `os.environ` must hold before this process imports Prefect. Valid before the server is up."""
        return client_settings(self._home, self._url, own=self.is_own)

    def apply_environment(self) -> None:
        """Put `environment()` into `os.environ`; child processes inherit it and mean the same server."""
        if "prefect" in sys.modules:
            raise RuntimeError("Prefect reads its settings at import: apply the environment before")
        os.environ.update(self.environment())

    def wait(self, timeout_s: float = 120) -> str:
        """The API's address, once a server answers there.

        Raises:
            RunFailedError: the folder's own server ended or did not come up; names its log.
            CannotRunError: nothing answers at the user's `PREFECT_API_URL`.
        """
        if not self.is_own:
            return self._wait_external(min(timeout_s, _EXTERNAL_S_MAX))
        deadline = time.monotonic() + timeout_s
        while not _is_healthy(self._url):
            if time.monotonic() > deadline:
                raise self._failure(f"is not up after {timeout_s:g} s")
            with _start_lock(self._home):
                if not _is_running(self._home):
                    self._replace_dead_server()
            time.sleep(_POLL_S)
        return self._url

    def stop(self) -> None:
        """Give the server back. The last user waits until it has written everything and ended. Idempotent."""
        if self._users_fd is None:
            return
        with _start_lock(self._home):
            last = _try_lock(self._users_fd, fcntl.LOCK_EX)
        os.close(self._users_fd)
        self._users_fd = None
        ended = last and self._wait_end()
        if self._child_pid is not None:
            # A server that others go on using is init's to reap.
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self._child_pid, 0 if ended else os.WNOHANG)

    def _wait_end(self) -> bool:
        """True once the server is gone, False if somebody came in and keeps it."""
        deadline = time.monotonic() + _STOPPING_S_MAX
        while time.monotonic() < deadline:
            with _start_lock(self._home):
                if not _is_running(self._home):
                    return True
                if _has_users(self._home):
                    return False
            time.sleep(_POLL_S)
        return False

    def _replace_dead_server(self) -> None:
        """Start the server again at the same address, if it was another run's that ended it."""
        if self._child_pid is not None:
            raise self._failure("ended")
        _, self._child_pid = _find_or_spawn(self._home, port=_port(self._url))

    def _wait_external(self, timeout_s: float) -> str:
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                with urllib.request.urlopen(f"{self._url}/health", timeout=timeout_s):
                    return self._url
            except urllib.error.HTTPError as error:
                # Something answered; whether it wants a key is Prefect's own client to find out.
                error.close()
                return self._url
            except (OSError, ValueError, http.client.HTTPException) as error:
                if time.monotonic() > deadline or isinstance(error, ValueError):
                    raise CannotRunError(
                        "PREFECT_API_URL",
                        self._url,
                        "no Prefect server answers there",
                        "start it (a team's: `shotwise up`), or unset the variable to use a local one",
                    ) from None
            time.sleep(0.2)

    def _failure(self, what: str) -> RunFailedError:
        return RunFailedError(f"the local Prefect server {what}; see {self.log_file}")


def _external_url(home: Home) -> str | None:
    """The user's own choice of a server, and not what an enclosing run of ours put there; or the team's."""
    url = os.environ.get("PREFECT_API_URL")
    if url and url != os.environ.get(OWN_SERVER_VARIABLE):
        return url.rstrip("/")
    return home.team.prefect_api_url if home.team else None


def _join(home: Home) -> int:
    """Hold users.lock as one of its users. It is refused only while a server is ending: its last act."""
    fd = _open(home, "users.lock")
    deadline = time.monotonic() + _STOPPING_S_MAX
    while not _try_lock(fd, fcntl.LOCK_SH):
        if time.monotonic() > deadline:
            pid = (home.prefect / "server.lock").read_text().strip()
            os.close(fd)
            raise RunFailedError(f"the local Prefect server (process {pid}) does not end; end it yourself")
        time.sleep(_POLL_S)
    return fd


def _find_or_spawn(home: Home, port: int) -> tuple[str, int | None]:
    """The address of the live server, or of a new one with its process id. Call under the start lock."""
    lock_fd = _open(home, "server.lock")
    address = home.prefect / "server.json"
    try:
        while not _try_lock(lock_fd, fcntl.LOCK_EX):
            with contextlib.suppress(FileNotFoundError):
                return json.loads(address.read_bytes())["url"], None
            # No address beside a held lock: the server is past its last act, and the lock about to go.
            time.sleep(_POLL_S)
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", port))
            url = f"http://127.0.0.1:{listener.getsockname()[1]}/api"
            _replace_file(address, json.dumps({"url": url}).encode())
            return url, _spawn(home, url, listener.fileno(), lock_fd)
    except OSError as error:
        raise RunFailedError(f"the local Prefect server cannot be started: {error}") from error
    finally:
        os.close(lock_fd)


def _spawn(home: Home, url: str, listener_fd: int, lock_fd: int) -> int:
    """Start the server process, which inherits the port and server.lock, in a session away from Ctrl-C."""
    log = home.logs / "prefect-server.log"
    is_full = log.exists() and log.stat().st_size > _LOG_BYTES_MAX
    environment = server_settings(home, url)
    source_root = Path(__file__).resolve().parents[1]
    if source_root != Path(sysconfig.get_path("purelib")):
        paths = [environment.get("PYTHONPATH"), str(source_root)]
        environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    with log.open("wb" if is_full else "ab") as output:
        child = subprocess.Popen(
            [sys.executable, "-m", "tasks.prefect_server", str(home.root), str(listener_fd), str(lock_fd)],
            # Away from the user's folder: Prefect takes settings from a `prefect.toml` or `.env` found there.
            cwd=home.prefect,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=(listener_fd, lock_fd),
            start_new_session=True,
        )
    # It may outlive this process, which is no mistake for `Popen` to warn of when it is collected.
    child.returncode = 0
    return child.pid


def _open(home: Home, name: str) -> int:
    return os.open(home.prefect / name, os.O_RDWR | os.O_CREAT, 0o600)


def _try_lock(fd: int, kind: int) -> bool:
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def _start_lock(home: Home) -> Iterator[None]:
    fd = _open(home, "start.lock")
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _is_running(home: Home) -> bool:
    """Call under the start lock: for a moment the lock is taken, which must not look like a server."""
    return not _could_lock(home, "server.lock", fcntl.LOCK_EX)


def _has_users(home: Home) -> bool:
    """Whether somebody shares users.lock, as opposed to nobody or the ending server, which has it alone."""
    exclusive = _could_lock(home, "users.lock", fcntl.LOCK_EX)
    return not exclusive and _could_lock(home, "users.lock", fcntl.LOCK_SH)


def _could_lock(home: Home, name: str, kind: int) -> bool:
    fd = _open(home, name)
    try:
        return _try_lock(fd, kind)
    finally:
        os.close(fd)


def _port(url: str) -> int:
    return int(url.removeprefix("http://127.0.0.1:").removesuffix("/api"))


def _is_healthy(url: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", _port(url), timeout=5)
    try:
        connection.request("GET", "/api/health")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _replace_file(path: Path, content: bytes) -> None:
    part = path.with_name(f"{path.name}.{os.getpid()}")
    part.write_bytes(content)
    part.replace(path)


if __name__ == "__main__":
    from tasks.prefect_supervisor import main

    main()
