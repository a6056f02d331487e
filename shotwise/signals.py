"""Events that signal handlers set.

A handler runs in the main thread, between two of its instructions. `threading.Event.set` takes a lock that
the thread may just hold because it waits for that event, and would then wait for itself for ever; a
`SimpleQueue` may be put to at any moment.
"""

from __future__ import annotations

import threading
from queue import SimpleQueue


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
