"""Events that signal handlers set.

A handler runs in the main thread, between two of its instructions. `threading.Event.set` takes a lock that
the thread may just hold because it waits for that event, and would then wait for itself for ever; a
`SimpleQueue` may be put to at any moment.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from types import FrameType


class Bell:
    """Sets an event, from a thread of its own; `ring` may be called by a signal handler."""

    def __init__(self, event: threading.Event) -> None:
        self._rings: SimpleQueue[bool] = SimpleQueue()
        threading.Thread(target=self._answer, args=(event,), name="bell", daemon=True).start()

    def ring(self) -> None:
        self._rings.put(True)

    def close(self) -> None:
        """End the thread, once all is answered."""
        self._rings.put(False)

    def _answer(self, event: threading.Event) -> None:
        while self._rings.get():
            event.set()


@contextmanager
def set_by_signals(stop: threading.Event) -> Iterator[None]:
    """Within the block SIGINT and SIGTERM set an event; a second one interrupts at once.

    Handlers are only set where Python allows it, in the main thread.

    Raises:
        KeyboardInterrupt: a signal came when the event was set.
    """
    bell = Bell(stop)

    def ask(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        bell.ring()

    in_main = threading.current_thread() is threading.main_thread()
    before = {s: signal.signal(s, ask) for s in (signal.SIGINT, signal.SIGTERM)} if in_main else {}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        bell.close()
