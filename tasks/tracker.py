"""The process beside the loop that tells MLflow; see `tasks.tracking`, which runs in it."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass

from shotwise.home import Home


@dataclass(frozen=True)
class Tracker:
    """Handle of the tracking process."""

    process: subprocess.Popen[bytes]

    @classmethod
    def start(cls, home: Home, run_id: str) -> Tracker:
        """Track a run; the process ends by itself when this one is gone."""
        home.logs.mkdir(parents=True, exist_ok=True)
        with (home.logs / "mlflow-tracker.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "tasks.tracking", run_id],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env={**os.environ, "SHOTWISE_HOME": str(home.root), "MLFLOW_DISABLE_TELEMETRY": "true"},
                start_new_session=True,
            )
        return cls(process)

    def finish(self, timeout_s: float = 120) -> bool:
        """Let it log the rest and wait for its end; whether all was logged."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            return self.process.wait(timeout_s) == 0
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return False


def mlflow_run_url(home: Home, mlflow_run_id: str) -> str:
    """Where the MLflow UI shows a run: the tracking server, or the one that `shotwise ui` starts."""
    base = home.mlflow_uri if home.mlflow_uri.startswith("http") else home.mlflow_ui_url
    return f"{base}/#/runs/{mlflow_run_id}"
