"""The folder's own Prefect server, as real processes: shared, ended, killed; and what its database says."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from shotwise.errors import CannotRunError, RunFailedError
from shotwise.home import Home
from tasks import prefect_supervisor
from tasks.prefect_server import PrefectServer

ROOT = Path(__file__).resolve().parents[3]

USER = """
import sys
from pathlib import Path
from shotwise.home import Home
from tasks.prefect_server import PrefectServer

home = Home(Path(sys.argv[1]))
server = PrefectServer.start(home)
"""

FLOW = (
    USER
    + """
import os, signal, time
server.apply_environment()
from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.runtime import flow_run
from tasks.prefect_records import close_stale, wait_for_records, use_own_server
server.wait()
use_own_server()

@task(cache_policy=NO_CACHE)
def step(number, then=None):
    get_run_logger().warning("step %d", number)
    if then:
        then()
    return number

@flow
def closed_loop(steps, then=None):
    print(flow_run.id, flush=True)
    for number in range(steps):
        step(number)
    if then:
        step(steps, then)
"""
)


@pytest.fixture(scope="module", autouse=True)
def _plain_environment() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(("PREFECT_", "SHOTWISE_")):
                patch.delenv(name)
        patch.setenv("PYTHONPATH", str(ROOT))
        yield


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def shared(home: Home) -> Iterator[PrefectServer]:
    """A user beside those in a test's subprocesses, so that these need not start a server each."""
    server = PrefectServer.start(home)
    server.wait()
    yield server
    server.stop()


@pytest.fixture
def process() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Processes that a test starts; those still there at its end are killed."""
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for child in started:
        child.kill()
        child.communicate()


def run_script(script: str, home: Home, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-W", "error", "-c", script, str(home.root), *arguments]
    return subprocess.run(command, capture_output=True, timeout=60, check=False)


def popen_script(script: str, home: Home) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", script, str(home.root)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def server_pid(home: Home) -> int:
    return int((home.prefect / "server.lock").read_text())


def is_alive(pid: int) -> bool:
    with contextlib.suppress(ProcessLookupError, FileNotFoundError):
        os.kill(pid, 0)
        # A killed orphan may stay a zombie where nobody reaps.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def wait_until_gone(pid: int, timeout_s: float = 20) -> bool:
    deadline = time.monotonic() + timeout_s
    while is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not is_alive(pid)


def states(home: Home, table: str, key: str, run_id: str) -> list[str]:
    with contextlib.closing(sqlite3.connect(home.prefect / "prefect.db")) as database:
        rows = database.execute(f"SELECT state_type FROM {table} WHERE {key} = ?", (run_id,))
        return [state for (state,) in rows]


def test_every_task_run_is_in_the_database_and_the_terminal_is_quiet(
    home: Home, shared: PrefectServer
) -> None:
    script = f"""{FLOW}
from uuid import UUID
state = closed_loop(50, return_state=True)
assert not wait_for_records(state.state_details.flow_run_id, task_runs=50)

nobody = UUID(int=1)
missing = wait_for_records(
    state.state_details.flow_run_id, task_runs=52, task_run_ids=[nobody], timeout_s=0.5
)
assert (missing.task_runs_unseen, missing.task_run_ids, missing.flow_run_ids) == (2, {{nobody}}, set())
server.stop()
"""
    done = run_script(script, home)
    assert (done.returncode, done.stderr) == (0, b"")
    flow_run_id = done.stdout.decode().strip()
    assert states(home, "task_run", "flow_run_id", flow_run_id) == ["COMPLETED"] * 50
    assert states(home, "flow_run", "id", flow_run_id) == ["COMPLETED"]


def test_the_page_asks_the_address_that_it_is_served_from(shared: PrefectServer) -> None:
    url = shared.wait()
    with urllib.request.urlopen(url.removesuffix("/api") + "/ui-settings") as answer:
        assert json.load(answer)["api_url"] == url


def test_requests_wait_for_another_writer(shared: PrefectServer, home: Home) -> None:
    """A transaction that reads before it writes is no 503, whatever was written in between."""
    with httpx.Client(base_url=shared.wait()) as client:
        made = client.post("/v2/concurrency_limits/", json={"name": "slots", "limit": 1000})
        assert made.status_code == 201
        with writer_at_work(home.prefect / "prefect.db"):
            taken = {"names": ["slots"], "slots": 1}
            answers = [client.post("/v2/concurrency_limits/increment", json=taken) for _ in range(40)]
    assert {answer.status_code for answer in answers} == {200}


@contextlib.contextmanager
def writer_at_work(path: Path) -> Iterator[None]:
    """Commits to a database for the block, some hundred a second."""
    over = threading.Event()

    def write() -> None:
        with contextlib.closing(sqlite3.connect(path, timeout=60, isolation_level=None)) as connection:
            connection.execute("CREATE TABLE noise (number INTEGER)")
            while not over.wait(0.001):
                connection.execute("INSERT INTO noise VALUES (1)")
            connection.execute("DROP TABLE noise")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield
    finally:
        over.set()
        writer.join()


def test_runs_of_a_killed_process_are_closed(home: Home, shared: PrefectServer) -> None:
    script = f"""{FLOW}
def die():
    time.sleep(1.5)  # until the task runs are recorded
    os.kill(os.getpid(), signal.SIGKILL)
closed_loop(2, die)
"""
    killed = run_script(script, home)
    assert killed.returncode == -signal.SIGKILL
    flow_run_id = killed.stdout.decode().strip()
    assert "RUNNING" in states(home, "task_run", "flow_run_id", flow_run_id)

    script = f"""{FLOW}
from uuid import UUID
ids = [UUID(sys.argv[2]), UUID(int=1)]
print(close_stale(ids), close_stale(ids))
server.stop()
"""
    closed = run_script(script, home, flow_run_id)
    assert (closed.stdout.split(), closed.stderr) == ([b"1", b"0"], b"")
    assert states(home, "flow_run", "id", flow_run_id) == ["CRASHED"]
    assert sorted(states(home, "task_run", "flow_run_id", flow_run_id)) == ["COMPLETED"] * 2 + ["CRASHED"]


def test_an_interrupt_is_quiet_and_spares_the_server(
    home: Home, shared: PrefectServer, process: list[subprocess.Popen[bytes]]
) -> None:
    script = f"""{FLOW}
try:
    closed_loop(1, lambda: (print("busy", flush=True), time.sleep(60)))
except KeyboardInterrupt:
    server.stop()
    raise SystemExit(130)
"""
    user = popen_script(script, home)
    process.append(user)
    assert user.stdout is not None
    flow_run_id = user.stdout.readline().decode().strip()
    assert user.stdout.readline() == b"busy\n"
    user.send_signal(signal.SIGINT)
    _, stderr = user.communicate(timeout=120)
    assert (user.returncode, stderr) == (130, b"")
    assert shared.wait()
    assert states(home, "flow_run", "id", flow_run_id) == ["CRASHED"]


def test_users_share_one_server_and_the_last_ends_it(home: Home, shared: PrefectServer) -> None:
    second = PrefectServer.start(home)
    assert second.environment()["PREFECT_API_URL"] == shared.wait()
    pid = server_pid(home)
    shared.stop()
    assert second.wait() == second.environment()["PREFECT_API_URL"]
    assert is_alive(pid)
    second.stop()
    second.stop()
    assert not is_alive(pid)
    assert not (home.prefect / "server.json").exists()


def test_the_server_ends_when_its_users_are_killed(
    home: Home, process: list[subprocess.Popen[bytes]]
) -> None:
    users = [popen_script(f"{USER}\nserver.wait()\nprint(flush=True)\ninput()", home) for _ in range(2)]
    process.extend(users)
    for user in users:
        assert user.stdout is not None
        assert user.stdout.readline() == b"\n"
    pid = server_pid(home)
    for user in users:
        user.kill()
        user.communicate()
    assert wait_until_gone(pid)


def test_a_user_that_leaves_during_the_start_leaves_nothing(home: Home) -> None:
    server = PrefectServer.start(home)
    time.sleep(0.5)
    pid = server_pid(home)
    server.stop()
    assert not is_alive(pid)


def test_a_killed_server_misleads_nobody(home: Home) -> None:
    first = PrefectServer.start(home)
    killed = server_pid(home) if first.wait() else 0
    os.kill(killed, signal.SIGKILL)
    assert (home.prefect / "server.json").exists()
    second = PrefectServer.start(home)
    assert second.wait()
    assert server_pid(home) != killed
    first.stop()
    assert is_alive(server_pid(home))
    second.stop()
    assert not is_alive(server_pid(home))


def test_a_server_that_cannot_start_is_reported_with_its_log(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.prefect.mkdir()
    (home.prefect / "prefect.db").write_text("This is no database." * 100)
    server = PrefectServer.start(home)
    with pytest.raises(RunFailedError, match=r"logs/prefect-server\.log"):
        server.wait()
    server.stop()
    assert "not a database" in server.log_file.read_text()


def test_a_fresh_folder_begins_with_the_template(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "share"
    build = "import pathlib, sys, tasks.prefect_supervisor as s; s.make_template(pathlib.Path(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", build, str(folder)], check=True, timeout=120)
    assert [path.name for path in folder.iterdir()] == ["prefect.db"]

    for name in ("MIGRATE_ON_START", "REGISTER_BLOCKS_ON_START"):
        monkeypatch.setenv(f"PREFECT_SERVER_{name}", "")
    monkeypatch.setattr(prefect_supervisor, "template_folder", lambda: folder)
    fresh = Home(tmp_path / "home")
    fresh.prefect.mkdir(parents=True)
    prefect_supervisor.prepare_database(fresh.prefect / "prefect.db")
    assert (fresh.prefect / "prefect.db").read_bytes() == (folder / "prefect.db").read_bytes()
    assert os.environ["PREFECT_SERVER_DATABASE_MIGRATE_ON_START"] == "false"


def test_the_users_own_server_is_used_and_nothing_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api/")
    monkeypatch.setattr("tasks.prefect_server._EXTERNAL_S_MAX", 0.1)
    home = Home(tmp_path / "home")
    server = PrefectServer.start(home)
    assert not server.is_own
    assert not home.root.exists()
    assert server.environment()["PREFECT_API_URL"] == "http://127.0.0.1:9/api"
    with pytest.raises(CannotRunError, match="PREFECT_API_URL"):
        server.wait()
    server.stop()


def test_a_child_of_a_run_means_the_same_server(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    url = "http://127.0.0.1:9/api"
    monkeypatch.setenv("PREFECT_API_URL", url)
    monkeypatch.setenv("SHOTWISE_PREFECT_URL", url)
    server = PrefectServer.start(home)
    assert server.is_own
    server.stop()


def test_the_handle_imports_nothing_heavy(home: Home) -> None:
    heavy = "print(sorted({'prefect', 'pydantic', 'httpx', 'sqlalchemy', 'asyncio'} & sys.modules.keys()))"
    done = run_script(f"import sys, tasks.prefect_server\n{heavy}", home)
    assert done.stdout == b"[]\n"
