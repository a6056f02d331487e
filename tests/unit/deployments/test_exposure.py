"""Nothing listens beyond loopback without credentials."""

from pathlib import Path

import pytest

from deployments.exposure import MLFLOW_PASSWORD, MLFLOW_SECRET, ORIGINS, PREFECT_CREDENTIALS, exposure
from deployments.exposure import mlflow_accounts as accounts
from shotwise.errors import CannotRunError
from shotwise.home import Home

COMPLETE = {
    PREFECT_CREDENTIALS: "team:a long enough password",
    MLFLOW_PASSWORD: "another long password",
    MLFLOW_SECRET: "a third long random text",
    ORIGINS: "https://prefect.example.org/, https://ops.example.org",
}


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_loopback_needs_nothing_and_still_names_its_own_pages(host: str) -> None:
    asked = exposure(host, 4200, {})
    assert asked.is_local
    assert asked.origins[0] == f"http://{host}:4200"
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
