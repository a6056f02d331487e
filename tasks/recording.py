"""Whether Prefect hears of a run's tasks one by one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_recorded: ContextVar[bool] = ContextVar("recorded", default=True)


def is_recorded() -> bool:
    """Whether the loop's tasks are task runs, and a run has a flow run and artifacts of its own."""
    return _recorded.get()


@contextmanager
def without_recording() -> Iterator[None]:
    """Within, the loop's tasks are plain calls, and what is seen in Prefect is whatever surrounds them.

    For free exact runs that somebody else records already, such as the points of a sweep: their iterations
    take less time than Prefect's records of them.
    """
    token = _recorded.set(False)
    try:
        yield
    finally:
        _recorded.reset(token)
