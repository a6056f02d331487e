"""What the Prefect UI shows of a run beside its tasks: a live progress bar, a summary, a link to MLflow."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from uuid import UUID

from httpx import HTTPError
from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    update_progress_artifact,
)

from tasks.progress import Progress
from tasks.recording import is_recorded

_UPDATE_EVERY_S = 2.0


class ProgressArtifact:
    """One progress artifact, updated in place at most every two seconds; not while the server is away."""

    def __init__(self, run_id: str) -> None:
        self.id: object = None
        self.updated = time.monotonic()
        if not is_recorded():
            return
        with suppress(HTTPError):
            self.id = create_progress_artifact(0.0, description=f"{run_id}: starting")

    def __call__(self, progress: Progress) -> None:
        if time.monotonic() - self.updated >= _UPDATE_EVERY_S:
            self._write(100 * progress.iteration / progress.iterations_max, progress.line())

    def end(self, description: str) -> None:
        """Show the run as done."""
        self._write(100.0, description)

    def _write(self, percent: float, description: str) -> None:
        if isinstance(self.id, UUID):
            with suppress(HTTPError):
                update_progress_artifact(self.id, min(percent, 100.0), description=description)
        self.updated = time.monotonic()


def publish_summary(run_id: str, rows: Sequence[Sequence[str]], mlflow_url: str | None) -> None:
    """The result as a keyed markdown table, and where MLflow has the run; the journal has both anyway.

    Args:
        rows: the heads of the columns first.
    """
    if not is_recorded():
        return
    heads, *body = (f"| {' | '.join(row)} |" for row in rows)
    lines = [f"# {run_id}", "", heads, "|" + len(rows[0]) * "---|", *body]
    with suppress(HTTPError):
        create_markdown_artifact("\n".join(lines), key="shotwise-summary", description=f"{run_id}: result")
        if mlflow_url:
            create_link_artifact(
                mlflow_url, key="shotwise-mlflow-run", link_text="MLflow run", description=run_id
            )
