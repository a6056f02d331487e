"""The processes that drive a sweep's points: one loads what they all need, while its parent loads Prefect.

Where the system can (Linux), they are forked from a process that has imported and done nothing else, so many
start as soon as one. Elsewhere each begins by itself, and loads for itself.

Imports nothing of Prefect or the loop: the command line starts them before it loads either.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import forkserver

_FORKED = sys.platform == "linux"

_NICENESS = 5

_open: list[ProcessPoolExecutor] = []


@contextmanager
def worker_processes(count: int, modules: Sequence[str]) -> Iterator[None]:
    """Have `open_pool` answer within the block; at its end they end.

    They get this process's environment as it is now.

    Args:
        modules: what is imported before they are forked: nothing that starts threads.
    """
    context = multiprocessing.get_context("forkserver" if _FORKED else "spawn")
    if _FORKED:
        context.set_forkserver_preload(list(modules))
        forkserver.ensure_running()
    with ProcessPoolExecutor(count, mp_context=context, initializer=_begin) as pool:
        _open.append(pool)
        try:
            yield
        finally:
            _open.remove(pool)


def _begin() -> None:
    """A run that is interrupted stops in order; a process that waits for one ends with its parent.

    Tracking goes first: what it leaves to the end it does alone, while the cores of the others stand idle.
    """
    signal.signal(signal.SIGINT, lambda *_: None)  # not ignored, which a run would take for its own wish
    os.nice(_NICENESS)


def open_pool() -> ProcessPoolExecutor | None:
    """The processes of the innermost block; None outside of any."""
    return _open[-1] if _open else None
