"""Leaving a process without taking it apart: the system frees its millions of objects at once."""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class _Exit:
    code = 0


def leave_at_once_in_the_end() -> None:
    """End this process once all is done that is registered for its exit from now on.

    Nothing that was registered before is run, and nothing is closed that nobody closed.
    """
    atexit.register(_leave)


@contextmanager
def leaving_at_once() -> Iterator[None]:
    """All that a process does, which then ends with the same code, see `leave_at_once_in_the_end`."""
    leave_at_once_in_the_end()
    _Exit.code = 1
    try:
        yield
        _Exit.code = 0
    except SystemExit as left:
        _Exit.code = left.code if isinstance(left.code, int) else int(left.code is not None)
        raise


def _leave() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError, ValueError):  # there is none, or nobody reads it any more
            stream.flush()
    os._exit(_Exit.code)
