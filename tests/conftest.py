"""What holds for every test: Hypothesis without deadlines, compiled programs shared, long files first."""

import gc
import os
import signal
from collections import Counter
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import settings

HERE = Path(__file__).parent
LONG = ("simulation/", "property/", "golden/", "unit/flows/test_in_prefect.py")
"""Folders and files whose tests are few and long."""

# A slow machine is not a failure.
settings.register_profile("shotwise", deadline=None)
settings.load_profile("shotwise")

# A shell's background job ignores SIGINT, and so would every process that a test starts and interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# One folder for all processes, and for the next session: each would compile the same programs for itself.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(HERE.parent / "build" / "compiled")
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Importing makes objects by the hundred thousand, of which none is garbage then or while tests run."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first, then those of many tests: a worker takes whole files, and the last shall be short."""
    tests = Counter(item.path for item in items)

    def place(item: pytest.Item) -> tuple[bool, int, str]:
        file = item.path.relative_to(HERE).as_posix()
        return not file.startswith(LONG), -tests[item.path], file

    items.sort(key=place)
