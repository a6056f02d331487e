"""`up` and `down` with other options than the last time; the services are processes that only sleep."""

import json
import shutil
import socket
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path

import psutil
import pytest

from deployments.databases import Databases
from deployments.exposure import MLFLOW_PASSWORD, MLFLOW_SECRET, ORIGINS, PREFECT_CREDENTIALS
from deployments.service import Service
from deployments.stack import Options, Stack
from shotwise.errors import CannotRunError
from shotwise.home import Home

SECRETS = (PREFECT_CREDENTIALS, MLFLOW_PASSWORD, MLFLOW_SECRET, ORIGINS)


class Sleeping(Stack):
    """A stack whose services do nothing, and whose databases need no server."""

    @cached_property
    def databases(self) -> Databases:
        return Databases(None, "sqlite://", "sqlite://", "sqlite://")

    def _service(self, name: str, arguments: tuple[str, ...], environment: Mapping[str, str]) -> Service:
        sleep = shutil.which("sleep")
        assert sleep is not None
        return Service(name, self.folder, self.home.logs / f"{name}.log", (sleep, "300"), environment)

    def _migrate_journal(self) -> None: ...
    def _apply(self, fresh: bool) -> None: ...
    def _await(self, service: Service, url: str) -> None: ...


@pytest.fixture
def up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Stack]]:
    """What `shotwise up` does with options, from a shell without secrets."""
    for name in SECRETS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DATABASE_URL", "postgresql+psycopg://nobody@127.0.0.1:1/shotwise")
    Options(prefect_port=free_port(), mlflow_port=free_port()).save(folder_of(tmp_path))

    def up(**chosen: object) -> Stack:
        stack = Sleeping.saved(Home(tmp_path), **chosen)
        stack.up()
        return stack

    yield up
    Sleeping(Home(tmp_path), Options()).down()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def folder_of(root: Path) -> Path:
    folder = root / "team"
    folder.mkdir(mode=0o700)
    return folder


def running(folder: Path) -> set[str]:
    """Names of the services whose recorded process is alive."""
    records = {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}
    return {name for name, record in records.items() if "pid" in record and psutil.pid_exists(record["pid"])}


def test_fewer_workers_are_fewer_processes(tmp_path: Path, up: Callable[..., Stack]) -> None:
    up(workers=3)
    before = json.loads((tmp_path / "team" / "worker-1.json").read_text())
    up(workers=1)
    assert running(tmp_path / "team") == {"prefect", "mlflow", "worker-1", "keeper"}
    assert json.loads((tmp_path / "team" / "worker-1.json").read_text()) == before, "it was left alone"
    assert not (tmp_path / "team" / "worker-2.json").exists()


def test_down_ends_workers_that_the_options_no_longer_name(tmp_path: Path, up: Callable[..., Stack]) -> None:
    stack = up(workers=2)
    (alive,) = stack.workers[1].members()
    Options(workers=1).save(tmp_path / "team")
    assert Sleeping.saved(Home(tmp_path)).down()
    assert running(tmp_path / "team") == set()
    assert not psutil.pid_exists(alive.pid)
    assert not Sleeping.saved(Home(tmp_path)).down(), "nothing is left to end"


@pytest.mark.parametrize("option", ["prefect_port", "mlflow_port", "host"])
def test_services_that_run_do_not_move(tmp_path: Path, up: Callable[..., Stack], option: str) -> None:
    stack = up()
    runs = getattr(stack.options, option)
    kept = {path: path.read_text() for path in tmp_path.rglob("*.json")}
    other = "127.0.0.2" if option == "host" else free_port()
    with pytest.raises(
        CannotRunError, match=f"--{option.replace('_', '-')}: .*{runs}.*{other}.*shotwise down"
    ):
        up(**{option: other})
    assert {path: path.read_text() for path in tmp_path.rglob("*.json")} == kept
    stack.down()
    assert getattr(up(**{option: other}).options, option) == other
    assert str(other) in (tmp_path / "team.json").read_text()


def test_down_needs_no_secrets(tmp_path: Path, up: Callable[..., Stack]) -> None:
    stack = up()
    Options(host="0.0.0.0").save(tmp_path / "team")
    assert Sleeping.saved(Home(tmp_path)).down()
    assert [worker for worker in stack.workers if worker.process()] == []
    with pytest.raises(CannotRunError, match=PREFECT_CREDENTIALS):
        up()


@pytest.mark.parametrize("damaged", ["", '{"host": "127.0', "[1]", '{"hots": "127.0.0.1"}'])
def test_a_damaged_choice_is_one_clear_line(tmp_path: Path, damaged: str) -> None:
    (folder_of(tmp_path) / "options.json").write_text(damaged)
    with pytest.raises(CannotRunError, match="is damaged") as refused:
        Stack.saved(Home(tmp_path))
    assert len(str(refused.value).splitlines()) == 1


def test_a_choice_is_kept_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = folder_of(tmp_path)
    Options(workers=2).save(folder)

    def cut_off(path: Path, text: str) -> None:
        path.write_bytes(text[:5].encode())
        raise OSError("power cut")

    monkeypatch.setattr(Path, "write_text", cut_off)
    with pytest.raises(OSError, match="power cut"):
        Options(workers=3).save(folder)
    assert Options.load(folder) == Options(workers=2)


@pytest.mark.parametrize(("host", "address"), [("::1", "[::1]"), ("::", "[::1]"), ("0.0.0.0", "127.0.0.1")])
def test_addresses_can_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str, address: str
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql+psycopg://nobody@127.0.0.1:1/shotwise")
    team = Stack(Home(tmp_path), Options(host=host, prefect_port=4999, mlflow_port=5999)).team
    assert team.prefect_api_url == f"http://{address}:4999/api"
    assert team.mlflow_url == f"http://{address}:5999"
