"""What holds for every test: Hypothesis without deadlines, compiled programs shared, interrupts heard."""

import gc
import os
import signal
from pathlib import Path

from hypothesis import settings

# A slow machine is not a failure.
settings.register_profile("shotwise", deadline=None)
settings.load_profile("shotwise")

# A shell's background job ignores SIGINT, and so would every process that a test starts and interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# One folder for all processes, and for the next session: each would compile the same programs for itself.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(Path(__file__).parents[1] / "build" / "compiled")
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"


def pytest_collection() -> None:
    """Importing makes objects by the hundred thousand and no garbage: nothing is to be collected there."""
    gc.disable()


def pytest_collection_finish() -> None:
    """What the imports made stays, and need not be looked through again and again while tests run."""
    gc.enable()
    gc.freeze()
