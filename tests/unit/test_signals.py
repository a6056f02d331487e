"""A signal that meets the main thread in a wait for the event that it sets."""

import os
import signal
import threading

import pytest

from shotwise.signals import SignalSafeSetter, set_by_signals


@pytest.mark.timeout(60, method="thread")
def test_no_moment_of_a_wait_is_a_wrong_one_for_a_signal() -> None:
    """With `Event.set` in the handler this hangs within a second."""
    event = threading.Event()
    setter = SignalSafeSetter(event)
    before = signal.signal(signal.SIGALRM, lambda *_: setter.set())
    signal.setitimer(signal.ITIMER_REAL, 2e-4, 2e-4)
    try:
        answered = 0
        while answered < 3_000:
            answered += event.wait(1e-6)
            event.clear()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        setter.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.timeout(60, method="thread")
def test_a_first_signal_asks_and_a_second_interrupts(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    stop = threading.Event()

    def be_told_twice() -> None:
        with set_by_signals(stop):
            os.kill(os.getpid(), number)
            assert stop.wait(30)
            os.kill(os.getpid(), number)
            stop.wait(1)

    with pytest.raises(KeyboardInterrupt):
        be_told_twice()
    assert signal.getsignal(number) is before


def test_other_threads_set_no_handlers() -> None:
    before, seen = signal.getsignal(signal.SIGTERM), []

    def drive() -> None:
        with set_by_signals(threading.Event()):
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=drive)
    thread.start()
    thread.join()
    assert seen == [before]
