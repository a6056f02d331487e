"""The process beside the loop that tells MLflow; see `tasks.tracking`, which runs in it.

One for all runs that a process drives, and those that it has others drive. It imports MLflow for seconds,
so who knows early that there will be a run starts it early. Imports nothing but the standard library and the
words between the two.
"""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
import tempfile
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, ClassVar, cast

from shotwise.home import Home
from tasks.tracking.protocol import BEGIN, COMPLETE, END

_END_S_MAX = 120.0
_LENT = "SHOTWISE_TRACKER"
"""Of a process that another one had started: the pipe that leads to that one's tracking process."""
_ALL = "all"
"""No run's id: what is answered to its end was said after all before it had been logged."""
_MLFLOW_QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true"}


class Tracker:
    """A hold on a tracking process, which ends by itself when the process that started it is gone."""

    _of_home: ClassVar[dict[Path, Tracker]] = {}
    _starting: ClassVar[threading.Lock] = threading.Lock()
    _deferring: ClassVar[bool] = False

    def __init__(self, into: BinaryIO, process: subprocess.Popen[bytes] | None) -> None:
        """Args: `process`: None for another's, whose answers are for the one that lent it."""
        self._into, self._process = into, process
        self._saying = threading.Lock()
        self._ended: defaultdict[str, threading.Event] = defaultdict(threading.Event)
        self._complete: set[str] = set()
        self._ending: str | None = None
        if process is not None:
            threading.Thread(target=self._listen, args=(process.stdout,), daemon=True).start()

    @classmethod
    def of(cls, home: Home) -> Tracker:
        """The tracking process of a state folder, started where there is none and none was lent."""
        with cls._starting:
            known = cls._of_home.get(home.root)
            if known is None or not known._lives():
                known = cls._of_home[home.root] = _borrowed() or _started(home)
            return known

    @contextmanager
    def lent(self) -> Iterator[None]:
        """Let processes that are started within use this one; at the end all that they said is logged."""
        with tempfile.TemporaryDirectory(prefix="shotwise-") as folder:
            pipe = os.path.join(folder, "tracker")
            os.mkfifo(pipe, 0o600)
            # open for writing here too, so that it does not end whenever no other process has it open
            with open(os.open(pipe, os.O_RDWR), "r+b", buffering=0) as both:
                forwarding = threading.Thread(target=self._forward, args=(both,), daemon=True)
                forwarding.start()
                os.environ[_LENT] = pipe
                try:
                    yield
                finally:
                    del os.environ[_LENT]
                    both.write(b"\n")
                    forwarding.join()
                    self._await_all()

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
        if self._process is None:
            return True
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
        self._ended[run_id].wait(_END_S_MAX if self._lives() else 1.0)
        return run_id in self._complete

    def _await_all(self) -> None:
        """Wait until all is logged that was said so far, for as long as that goes on."""
        ended, logged = self._ended[_ALL], -1
        self._say(f"{END}{_ALL}")
        while not ended.wait(_END_S_MAX if self._lives() else 1.0) and len(self._complete) > logged:
            logged = len(self._complete)

    def _lives(self) -> bool:
        return self._process is None or self._process.poll() is None

    def _forward(self, lent: BinaryIO) -> None:
        """Say what others write, until an empty line."""
        for line in lent:
            if line == b"\n":
                return
            self._say(line.decode().strip())

    def _say(self, line: str) -> None:
        with self._saying:
            try:
                self._into.write(line.encode() + b"\n")
                self._into.flush()
            except BrokenPipeError:  # it died: its log says why, and the journal has everything
                return

    def _listen(self, answers: BinaryIO) -> None:
        for line in answers:
            word, _, run_id = line.decode().strip().partition(" ")
            if word == COMPLETE:
                self._complete.add(run_id)
            self._ended[run_id].set()
        for ended in list(self._ended.values()):
            ended.set()


def _borrowed() -> Tracker | None:
    """What the process that had this one started lends it; None where it lends nothing."""
    pipe = os.environ.get(_LENT)
    return None if pipe is None else Tracker(open(pipe, "wb"), None)


def _started(home: Home) -> Tracker:
    home.logs.mkdir(parents=True, exist_ok=True)
    with (home.logs / "mlflow-tracker.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tasks.tracking"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env={**os.environ, "SHOTWISE_HOME": str(home.root), **_MLFLOW_QUIET},
            start_new_session=True,
        )
    return Tracker(cast(BinaryIO, process.stdin), process)


def mlflow_run_url(home: Home, mlflow_run_id: str) -> str:
    """Where the MLflow UI shows a run: the tracking server, or the one that `shotwise ui` starts."""
    base = home.mlflow_uri if home.mlflow_uri.startswith("http") else home.mlflow_ui_url
    return f"{base}/#/runs/{mlflow_run_id}"
