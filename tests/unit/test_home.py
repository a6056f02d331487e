"""Everything is kept in the state folder, and nothing in the user's home."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from shotwise.errors import CannotRunError
from shotwise.home import Home

OURS = ("SHOTWISE_", "PREFECT_", "MLFLOW_", "XDG_", "MPL", "DATABASE_URL")


def test_the_tracking_process_writes_nothing_into_the_users_home(tmp_path: Path) -> None:
    users, home = tmp_path / "user", Home(tmp_path / "state").make()
    users.mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    done = subprocess.run(
        [sys.executable, "-m", "tasks.tracking"],
        cwd=tmp_path,
        env=kept | {"HOME": str(users), "SHOTWISE_HOME": str(home.root)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert list(users.iterdir()) == []
    assert any(home.plot_cache.iterdir())


def test_a_place_for_matplotlibs_files_that_the_user_names_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MPLCONFIGDIR", "/elsewhere")
    Home(tmp_path).keep_plot_cache()
    assert os.environ["MPLCONFIGDIR"] == "/elsewhere"
    monkeypatch.setenv("MPLCONFIGDIR", "")
    Home(tmp_path).keep_plot_cache()
    assert os.environ["MPLCONFIGDIR"] == str(tmp_path / "cache" / "matplotlib")


def test_the_home_of_somebody_unknown_is_refused_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOTWISE_HOME", "~no-such-user/state")
    with pytest.raises(CannotRunError) as refused:
        Home.from_environment()
    assert str(refused.value) == (
        "SHOTWISE_HOME: `~` there is nobody's home folder (got '~no-such-user/state'); write the whole path"
    )
