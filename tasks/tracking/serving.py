"""The tracking process: it follows the runs that its driver names, see `tasks.tracking`."""

from __future__ import annotations

import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from queue import Empty, Queue

from ledger import Database, Journal
from shotwise.home import Home
from tasks.tracking.protocol import BEGIN, COMPLETE, INCOMPLETE
from tasks.tracking.run import TrackedRun
from tasks.tracking.store import open_store

FLUSH_EVERY_S = 1.0


class _Runs:
    """The runs that are being tracked. What goes wrong with one is said on standard error."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._client = open_store(home)
        self._journal = Journal(Database(home.database_url))
        self._tracked: dict[str, TrackedRun] = {}
        _import_plots(home)

    def begin(self, run_id: str) -> None:
        with _said():
            self._tracked[run_id] = TrackedRun(self._home, self._journal, self._client, run_id)

    def flush(self) -> None:
        for run_id, run in list(self._tracked.items()):
            with _said() as failed:
                run.flush()
            if failed:
                del self._tracked[run_id]

    def end(self, run_id: str) -> bool:
        """Log the rest of a run; whether all of it was logged."""
        run = self._tracked.pop(run_id, None)
        if run is None:
            return False
        with _said() as failed:
            run.end()
        return not failed

    def end_all(self) -> None:
        for run_id in list(self._tracked):
            self.end(run_id)


@contextmanager
def _said() -> Iterator[list[Exception]]:
    """Print an exception instead of raising it; the list then holds it."""
    failed: list[Exception] = []
    try:
        yield failed
    except Exception as error:
        failed.append(error)
        traceback.print_exc()


def _import_plots(home: Home) -> None:
    """Import beside the loop what its end will need."""
    home.keep_plot_cache()
    import matplotlib.backends.backend_agg
    import matplotlib.figure  # noqa: F401


def serve(home: Home) -> None:
    """Track the runs that standard input names, until it closes, which it does when the driver is gone."""
    lines: Queue[str | None] = Queue()

    def listen() -> None:
        for line in sys.stdin:
            lines.put(line.strip())
        lines.put(None)

    threading.Thread(target=listen, daemon=True).start()
    runs = _Runs(home)
    flush_at = time.monotonic() + FLUSH_EVERY_S
    while True:
        try:
            line = lines.get(timeout=max(0.0, flush_at - time.monotonic()))
        except Empty:
            runs.flush()
            flush_at = time.monotonic() + FLUSH_EVERY_S
            continue
        if line is None:
            break
        run_id = line[1:]
        if line.startswith(BEGIN):
            runs.begin(run_id)
        else:
            print(COMPLETE if runs.end(run_id) else INCOMPLETE, run_id, flush=True)
    runs.end_all()
