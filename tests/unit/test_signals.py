"""A signal that meets the main thread in a wait for the event that it sets."""

import signal
import threading

import pytest

from shotwise.signals import Bell


@pytest.mark.timeout(60, method="thread")
def test_no_moment_of_a_wait_is_a_wrong_one_for_a_signal() -> None:
    """With `Event.set` in the handler this hangs within a second."""
    event = threading.Event()
    bell = Bell(event)
    before = signal.signal(signal.SIGALRM, lambda *_: bell.ring())
    signal.setitimer(signal.ITIMER_REAL, 2e-4, 2e-4)
    try:
        answered = 0
        while answered < 3_000:
            answered += event.wait(1e-6)
            event.clear()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        bell.close()
