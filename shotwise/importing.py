"""Imports without the garbage collector: they make objects by the hundred thousand, and no garbage."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_collector() -> Iterator[None]:
    """Import within, in up to a fifth less time; what there is at the end is never looked through again."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.freeze()
