"""Where everything of one installation lives: one folder, `SHOTWISE_HOME`, default `./.shotwise`.

Prefect's, MLflow's and matplotlib's files are kept there too, so nothing is written to the user's home.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from shotwise.errors import CannotRunError
from shotwise.team import Team

MLFLOW_UI_PORT = 5050
_NOTHING = "sqlite:///file:nothing?mode=memory&cache=shared&uri=true"


@dataclass(frozen=True)
class Home:
    """The state folder and the addresses that the environment may override."""

    root: Path

    @classmethod
    def from_environment(cls) -> Home:
        """The folder that `SHOTWISE_HOME` names, which may not exist yet.

        Raises:
            CannotRunError: there is something else, or it cannot be looked at.
        """
        named = os.environ.get("SHOTWISE_HOME") or ".shotwise"
        try:
            root = Path(named).expanduser().resolve()
        except RuntimeError:
            problem = "`~` there is nobody's home folder"
            raise CannotRunError("SHOTWISE_HOME", named, problem, "write the whole path") from None
        _check_folder(root)
        return cls(root)

    def make(self) -> Home:
        """Create the folder, readable by its owner only. Idempotent.

        Raises:
            CannotRunError: it cannot be made there.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            raise CannotRunError("SHOTWISE_HOME", str(self.root), why, "name another folder") from None
        return self

    @property
    def team(self) -> Team | None:
        """The services that `shotwise up` set up on this folder, None where it never did."""
        return Team.of(self.root)

    @property
    def database_url(self) -> str:
        """Journal and ledger: `DATABASE_URL`, the folder's team's, or SQLite in the state folder."""
        if url := os.environ.get("DATABASE_URL"):
            return url
        return self.team.journal_url() if self.team else f"sqlite:///{self.own_journal}"

    @property
    def own_journal(self) -> Path:
        """Journal and ledger of a folder that is no team's; the first `shotwise up` hands them over."""
        return self.root / "shotwise.db"

    @property
    def has_database(self) -> bool:
        """Whether there is one to look into: asking must not make one."""
        named = os.environ.get("DATABASE_URL") or self.team
        return bool(named) or self.own_journal.exists()

    @property
    def asked_url(self) -> str:
        """`database_url` for a question: an empty one in memory where there is none to look into."""
        return self.database_url if self.has_database else _NOTHING

    @property
    def mlflow_uri(self) -> str:
        """`MLFLOW_TRACKING_URI`, the folder's team's server, or SQLite in the state folder."""
        if uri := os.environ.get("MLFLOW_TRACKING_URI"):
            return uri
        return self.team.mlflow_url if self.team else f"sqlite:///{self.root / 'mlflow' / 'mlflow.db'}"

    @property
    def mlflow_ui_url(self) -> str:
        """Where `shotwise ui` serves MLflow."""
        return f"http://127.0.0.1:{MLFLOW_UI_PORT}"

    @property
    def mlflow_artifacts(self) -> Path:
        return self.root / "mlflow" / "artifacts"

    @property
    def prefect(self) -> Path:
        return self.root / "prefect"

    @property
    def local_jobs(self) -> Path:
        """Where devices of this machine remember their jobs."""
        return self.root / "local-jobs"

    @property
    def compile_cache(self) -> Path:
        return self.root / "cache" / "jax"

    @property
    def molecules(self) -> Path:
        """Integrals and ground states of molecules that were built before."""
        return self.root / "cache" / "molecules"

    @property
    def plot_cache(self) -> Path:
        """What matplotlib keeps of its own: the fonts that it found."""
        return self.root / "cache" / "matplotlib"

    def keep_plot_cache(self) -> None:
        """Have matplotlib keep that here, if it is not imported yet, and the user names no other place."""
        if not os.environ.get("MPLCONFIGDIR"):
            os.environ["MPLCONFIGDIR"] = str(self.plot_cache)

    @property
    def plots(self) -> Path:
        return self.root / "plots"

    def plot(self, run_id: str) -> Path:
        """The convergence plot of a run."""
        return self.plots / f"{run_id}.png"

    def curve(self, run_id: str) -> Path:
        """The plot of a scan."""
        return self.plots / f"{run_id}-curve.png"

    @property
    def logs(self) -> Path:
        return self.root / "logs"


def _check_folder(root: Path) -> None:
    try:
        there = next(path for path in (root, *root.parents) if path.exists())
        problem = None if there.is_dir() else f"{there} is not a folder"
    except OSError as error:
        problem = (error.strerror or str(error)).lower()
    if problem:
        raise CannotRunError("SHOTWISE_HOME", str(root), problem, "name another folder")
