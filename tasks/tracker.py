"""The process beside the loop that tells MLflow; see `tasks.tracking`, which runs in it.

One for all runs that a process drives. It imports MLflow for seconds, so who knows early that there will be
a run starts it early. Imports nothing but the standard library and the words between the two.
"""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from shotwise.home import Home
from tasks.tracking.protocol import BEGIN, COMPLETE, END

_END_S_MAX = 120.0
_MLFLOW_QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true"}


class Tracker:
    """This process's hold on its tracking process, which ends by itself when this one is gone."""

    _of_home: ClassVar[dict[Path, Tracker]] = {}
    _starting: ClassVar[threading.Lock] = threading.Lock()
    _deferring: ClassVar[bool] = False

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._saying = threading.Lock()
        self._ended: defaultdict[str, threading.Event] = defaultdict(threading.Event)
        self._complete: set[str] = set()
        self._ending: str | None = None
        threading.Thread(target=self._listen, daemon=True).start()

    @classmethod
    def of(cls, home: Home) -> Tracker:
        """The tracking process of a state folder, started where there is none."""
        with cls._starting:
            known = cls._of_home.get(home.root)
            if known is None or known._process.poll() is not None:
                known = cls._of_home[home.root] = cls(_start(home))
            return known

    def track(self, run_id: str) -> Callable[[], bool]:
        """Track a run; returns what ends that: it waits until all is logged, and says whether it was."""
        self._ended.pop(run_id, None)
        self._complete.discard(run_id)
        self._say(f"{BEGIN}{run_id}")
        return lambda: self._end(run_id)

    @classmethod
    def defer_ends(cls) -> None:
        """Let the end of one run be logged while the next one goes on; the last before this process ends."""
        if not cls._deferring:
            cls._deferring = True
            atexit.register(cls._await_last)

    def _end(self, run_id: str) -> bool:
        self._ended[run_id]  # its answer is waited for from now on
        self._say(f"{END}{run_id}")
        if not self._deferring:
            return self._await(run_id)
        before, self._ending = self._ending, run_id
        return before is None or self._await(before)

    @classmethod
    def _await_last(cls) -> None:
        for tracker in cls._of_home.values():
            if tracker._ending is not None:
                tracker._await(tracker._ending)

    def _await(self, run_id: str) -> bool:
        self._ended[run_id].wait(_END_S_MAX if self._process.poll() is None else 1.0)
        return run_id in self._complete

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        with self._saying:
            try:
                self._process.stdin.write(line.encode() + b"\n")
                self._process.stdin.flush()
            except BrokenPipeError:  # it died: its log says why, and the journal has everything
                return

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            word, _, run_id = line.decode().strip().partition(" ")
            if word == COMPLETE:
                self._complete.add(run_id)
            self._ended[run_id].set()
        for ended in list(self._ended.values()):
            ended.set()


def _start(home: Home) -> subprocess.Popen[bytes]:
    home.logs.mkdir(parents=True, exist_ok=True)
    with (home.logs / "mlflow-tracker.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "tasks.tracking"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env={**os.environ, "SHOTWISE_HOME": str(home.root), **_MLFLOW_QUIET},
            start_new_session=True,
        )


def mlflow_run_url(home: Home, mlflow_run_id: str) -> str:
    """Where the MLflow UI shows a run: the tracking server, or the one that `shotwise ui` starts."""
    base = home.mlflow_uri if home.mlflow_uri.startswith("http") else home.mlflow_ui_url
    return f"{base}/#/runs/{mlflow_run_id}"
