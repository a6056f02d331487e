"""The keeper outlives what it cannot do, and its workers know what it knows."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployments import keeper
from deployments.exposure import MLFLOW_PASSWORD, PREFECT_CREDENTIALS
from deployments.service import Service
from deployments.stack import Options
from shotwise.home import Home
from tests.databases import new_journal


class RunsReachedError(BaseException):
    """Ends the keeper where it comes to the runs."""


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Service]]:
    """What a keeper starts of a folder's workers, until it looks at runs; credentials as it is told them."""
    services: list[Service] = []
    database = new_journal(tmp_path / "shotwise.db")

    def look() -> None:
        raise RunsReachedError

    monkeypatch.setattr(Service, "start", lambda service: not services.append(service))
    monkeypatch.setattr(keeper, "Database", lambda url: database)
    monkeypatch.setattr(keeper, "get_client", look)
    monkeypatch.setattr("sys.argv", ["keeper", "--workers"])
    monkeypatch.setenv("SHOTWISE_HOME", str(tmp_path))
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "team:a long enough password")
    for secret in (PREFECT_CREDENTIALS, MLFLOW_PASSWORD):
        monkeypatch.delenv(secret, raising=False)
    (tmp_path / "team").mkdir()
    before = signal.getsignal(signal.SIGTERM)
    yield services
    signal.signal(signal.SIGTERM, before)
    database.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_workers_are_told_the_credentials_that_the_keeper_has(started: list[Service], host: str) -> None:
    Options(host=host, workers=2).save(Home.from_environment().root / "team")
    with pytest.raises(RunsReachedError):
        keeper.main()
    assert [service.name for service in started] == ["worker-1", "worker-2"]
    told = {service.environment.get("PREFECT_API_AUTH_STRING") for service in started}
    assert told == {"team:a long enough password"}


def test_workers_that_cannot_be_started_do_not_keep_it_from_the_runs(
    started: list[Service], caplog: pytest.LogCaptureFixture
) -> None:
    (Home.from_environment().root / "team" / "options.json").write_text('{"workers": ')
    with pytest.raises(RunsReachedError):
        keeper.main()
    assert started == []
    assert "is damaged" in caplog.text
