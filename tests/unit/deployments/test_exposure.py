"""Nothing listens beyond loopback without credentials."""

from pathlib import Path

import pytest

from deployments.environment import mlflow_names, prefect_environment
from deployments.exposure import (
    MLFLOW_HOSTS,
    MLFLOW_PASSWORD,
    MLFLOW_SECRET,
    ORIGINS,
    PREFECT_CREDENTIALS,
    exposure,
)
from deployments.exposure import mlflow_accounts as accounts
from shotwise.errors import CannotRunError
from shotwise.home import Home

COMPLETE = {
    PREFECT_CREDENTIALS: "team:a long enough password",
    MLFLOW_PASSWORD: "another long password",
    MLFLOW_SECRET: "a third long random text",
    ORIGINS: "https://prefect.example.org/, https://ops.example.org",
}


@pytest.mark.parametrize(
    ("host", "page"),
    [
        ("127.0.0.1", "http://127.0.0.1:4200"),
        ("127.0.0.2", "http://127.0.0.2:4200"),
        ("::1", "http://[::1]:4200"),
        ("localhost", "http://localhost:4200"),
    ],
)
def test_loopback_needs_nothing_and_still_names_its_own_pages(host: str, page: str) -> None:
    asked = exposure(host, 4200, {})
    assert asked.is_local
    assert asked.origins[0] == page
    assert "*" not in "".join(asked.origins)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "2001:db8::1", "prefect.example.org", ""])
def test_anything_else_is_refused_without_credentials(host: str) -> None:
    with pytest.raises(CannotRunError, match=PREFECT_CREDENTIALS):
        exposure(host, 4200, {})
    assert exposure(host, 4200, COMPLETE).origins == (
        "https://prefect.example.org",
        "https://ops.example.org",
    )


@pytest.mark.parametrize(
    ("variable", "weak"),
    [
        (PREFECT_CREDENTIALS, "team"),
        (PREFECT_CREDENTIALS, "team:short"),
        (PREFECT_CREDENTIALS, ":a long enough password"),
        (MLFLOW_PASSWORD, "short"),
        (MLFLOW_SECRET, ""),
        (ORIGINS, ""),
        (ORIGINS, "*"),
        (ORIGINS, "https://prefect.example.org,*"),
        (ORIGINS, "https://[x"),
        (ORIGINS, "prefect.example.org"),
    ],
)
def test_each_weak_credential_is_refused_by_name(variable: str, weak: str) -> None:
    with pytest.raises(CannotRunError) as refused:
        exposure("0.0.0.0", 4200, {**COMPLETE, variable: weak})
    assert variable in str(refused.value)


def test_no_credential_is_shown(tmp_path: Path) -> None:
    asked = exposure("0.0.0.0", 4200, COMPLETE)
    for secret in ("a long enough password", "another long password", "a third long random text"):
        assert secret not in repr(asked)


def test_accounts_are_denied_everything_by_default_in_a_file_of_the_owners(tmp_path: Path) -> None:
    home = Home(tmp_path)
    assert accounts(home, exposure("127.0.0.1", 4200, {})) is None
    path = accounts(home, exposure("0.0.0.0", 4200, COMPLETE))
    assert path is not None
    assert path.stat().st_mode & 0o777 == 0o600
    assert "default_permission = NO_PERMISSIONS" in path.read_text()


@pytest.mark.parametrize(("host", "reached_at"), [("0.0.0.0", "127.0.0.1"), ("::", "::1"), ("::1", "::1")])
def test_who_listens_everywhere_is_reached_on_loopback(host: str, reached_at: str) -> None:
    assert exposure(host, 4200, COMPLETE).address == reached_at


@pytest.mark.parametrize("host", ["::", "::1"])
def test_the_page_of_prefect_asks_an_address_that_can_be_read(tmp_path: Path, host: str) -> None:
    told = prefect_environment(Home(tmp_path), exposure(host, 4200, COMPLETE), 4200, "sqlite://")
    assert told["PREFECT_SERVER_UI_API_URL"] == f"http://[{host}]:4200/api"


@pytest.mark.filterwarnings("ignore")  # MLflow\'s own, at its first import
@pytest.mark.parametrize(
    ("host", "environment", "served", "refused"),
    [
        ("127.0.0.1", {}, ["localhost:8000", "127.0.0.1:5050", "[::1]:5050"], ["prefect.example.org"]),
        ("127.0.0.2", {}, ["127.0.0.2:5050"], ["127.0.0.3:5050"]),
        ("::1", {}, ["[::1]:5050", "localhost:5050"], ["[::2]:5050"]),
        (
            "0.0.0.0",
            COMPLETE,
            ["prefect.example.org", "ops.example.org:5050", "10.0.0.7:5050"],
            ["example.org"],
        ),
        (
            "2001:db8::1",
            {**COMPLETE, MLFLOW_HOSTS: "mlflow, mlflow.example.org"},
            ["mlflow:5050", "mlflow.example.org", "[2001:db8::1]:5050", "127.0.0.1:5050"],
            ["ops.example.org", "[2001:db8::2]:5050"],
        ),
    ],
)
def test_mlflow_answers_to_the_names_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
    host: str,
    environment: dict[str, str],
    served: list[str],
    refused: list[str],
) -> None:
    from mlflow.server.security_utils import get_allowed_hosts_from_env, is_allowed_host_header

    for name, value in mlflow_names(exposure(host, 4200, environment), 5050).items():
        monkeypatch.setenv(name, value)
    allowed = get_allowed_hosts_from_env()
    assert allowed is not None
    assert [name for name in [*served, *refused] if is_allowed_host_header(allowed, name)] == served


@pytest.mark.filterwarnings("ignore")  # MLflow\'s own, at its first import
def test_mlflows_own_page_may_write_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow.server.security_utils import get_allowed_origins_from_env, should_block_cors_request

    asked = exposure("0.0.0.0", 4200, {**COMPLETE, MLFLOW_HOSTS: "mlflow.example.org"})
    for name, value in mlflow_names(asked, 5050).items():
        monkeypatch.setenv(name, value)
    allowed = get_allowed_origins_from_env()
    own = ("https://mlflow.example.org", "http://mlflow.example.org:5050")
    foreign = ("https://mlflow.example.org.elsewhere.net", "https://ops.example.org", "http://10.0.0.7:5050")
    assert not [origin for origin in own if should_block_cors_request(origin, "POST", allowed)]
    assert [origin for origin in foreign if should_block_cors_request(origin, "POST", allowed)] == [*foreign]
    monkeypatch.setenv("MLFLOW_SERVER_CORS_ALLOWED_ORIGINS", "https://mlflow.example.org:8443")
    assert (
        mlflow_names(asked, 5050)["MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"] == "https://mlflow.example.org:8443"
    )
