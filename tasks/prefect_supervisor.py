"""The process that `tasks.prefect_server` starts: Prefect's server, which ends when its last user is gone.

One process, not a server under a watcher: there is nothing that a `kill -9` could orphan.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import shutil
import socket
import sqlite3
import sys
import tempfile
import threading
import time
import traceback
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from shotwise.home import Home
from shotwise.importing import without_collector
from tasks.prefect_settings import server_settings

if TYPE_CHECKING:
    import uvicorn

# After its last user is gone the server may take this long to write what it still has, then it is ended.
_SHUTDOWN_S_MAX = 15.0
_STARTUP_S_MAX = 60.0
_DRAIN_S_MAX = 5.0
_SETTLING_S = 1.0
_POLL_S = 0.05


def main() -> None:
    """`--make-template`, once per installation; or, from `PrefectServer`: home, listener, server.lock."""
    if sys.argv[1:] == ["--make-template"]:
        print(make_template())
        return
    root, listener_fd, lock_fd = sys.argv[1:]
    _serve(Home(Path(root)), socket.socket(fileno=int(listener_fd)), int(lock_fd))


def template_folder() -> Path:
    """Where this installation keeps the database that a fresh state folder begins with."""
    return Path(sys.prefix) / "share" / "shotwise" / f"prefect-{version('prefect')}"


def make_template(folder: Path | None = None) -> Path:
    """Build Prefect's database, migrated and empty, so that fresh state folders need not migrate their own.

    Also has Prefect unpack its UI, which it does once per installation. Idempotent.

    Returns:
        The database file.
    """
    template = (folder or template_folder()) / "prefect.db"
    if template.exists():
        return template
    template.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=template.parent) as scratch:
        home = Home(Path(scratch)).make()
        home.prefect.mkdir()
        os.environ.update(server_settings(home, "http://127.0.0.1/api"))
        asyncio.run(_migrate())
        built = Path(scratch) / "template.db"
        with contextlib.closing(sqlite3.connect(home.prefect / "prefect.db")) as database:
            # One file without a write-ahead log, safe to copy.
            database.execute("VACUUM INTO ?", (str(built),))
        built.replace(template)
    return template


async def _migrate() -> None:
    from prefect.server.api.server import create_ui_app
    from prefect.server.database import provide_database_interface
    from prefect.server.models.block_registration import run_block_auto_registration

    create_ui_app(ephemeral=False)
    database = provide_database_interface()
    await database.create_db()
    async with await database.session() as session:
        await run_block_auto_registration(session=session)
    await (await database.engine()).dispose()


def _serve(home: Home, listener: socket.socket, lock_fd: int) -> NoReturn:
    os.set_inheritable(listener.fileno(), False)
    os.set_inheritable(lock_fd, False)
    os.ftruncate(lock_fd, 0)
    os.pwrite(lock_fd, f"{os.getpid()}\n".encode(), 0)
    users = _Users(home)
    status = 0
    try:
        server = _load_server(home)
        users.database_in_use.set()
        asyncio.run(_run(server, listener, users))
        status = 0 if server.started else 1
    except BaseException:
        status = 1
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    # server.lock goes first, so that no newcomer finds it held by a process that is past serving.
    os.close(lock_fd)
    os._exit(status)


def _load_server(home: Home) -> uvicorn.Server:
    prepare_database(home.prefect / "prefect.db")
    with without_collector():
        import uvicorn
        from prefect.server.api.server import create_app

        app = create_app()
        _wait_for_other_writers()
    return uvicorn.Server(
        uvicorn.Config(
            app,
            log_config=None,  # Prefect configures uvicorn's loggers
            access_log=False,
            lifespan="on",
            timeout_graceful_shutdown=3,
        )
    )


def _wait_for_other_writers() -> None:
    """Have the server's transactions take SQLite's write lock when they begin, for which they wait.

    Prefect begins most of them as readers. Where another one writes before they do, becoming a writer fails
    at once: the server answers 503, and its client sleeps for two seconds.
    """
    from prefect.server.database.configurations import AioSqliteConfiguration

    begin = AioSqliteConfiguration.begin_transaction
    AioSqliteConfiguration.begin_transaction = lambda self, session, with_for_update=False: begin(
        self, session, with_for_update=True
    )


async def _run(server: uvicorn.Server, listener: socket.socket, users: _Users) -> None:
    """Serve until nobody uses the server, or until a signal or an error ends it."""
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    started_at = None
    while not serving.done():
        if server.started and started_at is None:
            started_at = time.monotonic()
            users.serving.set()
        # A server that is stopped in its first moment, before its services are up, can hang.
        if users.gone.is_set() and started_at is not None and time.monotonic() > started_at + _SETTLING_S:
            await _events_written()
            server.should_exit = True
            break
        await asyncio.sleep(_POLL_S)
    await serving


class _Users:
    """Notices that nobody shares users.lock any more: the kernel then grants it to this process, for good.

    Whoever wants to join from then on waits for this process's end, so that it is bounded here.
    """

    def __init__(self, home: Home) -> None:
        self.gone = threading.Event()
        self.database_in_use = threading.Event()
        self.serving = threading.Event()
        self._address = home.prefect / "server.json"
        self._fd = os.open(home.prefect / "users.lock", os.O_RDWR | os.O_CREAT, 0o600)
        threading.Thread(target=self._watch, name="users", daemon=True).start()

    def _watch(self) -> None:
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        self._address.unlink(missing_ok=True)
        if not self.database_in_use.is_set():
            os._exit(0)
        self.gone.set()
        self.serving.wait(_STARTUP_S_MAX)
        time.sleep(_SHUTDOWN_S_MAX)
        os._exit(1)


async def _events_written() -> None:
    """Let the consumers finish what is queued in memory: Prefect cancels them with their queue as it is."""
    from prefect.server.utilities.messaging.memory import Topic

    deadline = time.monotonic() + _DRAIN_S_MAX
    while time.monotonic() < deadline:
        subscriptions = Topic.by_name("events")._subscriptions
        if all(s._queue.empty() and s._retry.empty() for s in subscriptions):
            return
        await asyncio.sleep(0.02)


def prepare_database(database: Path) -> None:
    """Begin a fresh folder with the template, and spare a database at its schema the look for migrations."""
    template = template_folder() / "prefect.db"
    if not template.exists():
        return
    if not database.exists():
        part = database.with_name(f"{database.name}.part")
        shutil.copyfile(template, part)
        part.chmod(0o600)
        part.replace(database)
    if _schema(database) == _schema(template) is not None:
        os.environ["PREFECT_SERVER_DATABASE_MIGRATE_ON_START"] = "false"
        os.environ["PREFECT_SERVER_REGISTER_BLOCKS_ON_START"] = "false"


def _schema(database: Path) -> str | None:
    try:
        with contextlib.closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as connection:
            return connection.execute("SELECT version_num FROM alembic_version").fetchone()[0]
    except (sqlite3.Error, TypeError):
        return None
