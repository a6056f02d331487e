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


class SignalSafeSetter:
    """Sets an event, from a thread of its own; `set` may be called by a signal handler."""

    def __init__(self, event: threading.Event) -> None:
        self._requests: SimpleQueue[bool] = SimpleQueue()
        threading.Thread(target=self._set_on_request, args=(event,), name="setter", daemon=True).start()

    def set(self) -> None:
        self._requests.put(True)

    def close(self) -> None:
        """End the thread, once all is answered."""
        self._requests.put(False)

    def _set_on_request(self, event: threading.Event) -> None:
        while self._requests.get():
            event.set()


@contextmanager
def set_by_signals(stop: threading.Event) -> Iterator[None]:
    """Within the block SIGINT and SIGTERM set an event; a second one interrupts at once.

    Handlers are only set where Python allows it, in the main thread.

    Raises:
        KeyboardInterrupt: a signal came when the event was set.
    """
    setter = SignalSafeSetter(stop)

    def ask(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        setter.set()

    in_main = threading.current_thread() is threading.main_thread()
    before = {s: signal.signal(s, ask) for s in (signal.SIGINT, signal.SIGTERM)} if in_main else {}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        setter.close()
