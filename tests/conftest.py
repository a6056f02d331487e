"""What holds for every test: Hypothesis without deadlines, compiled programs shared, interrupts heard."""

import atexit
import os
import shutil
import signal
import tempfile

from hypothesis import settings

# A slow machine is not a failure.
settings.register_profile("shotwise", deadline=None)
settings.load_profile("shotwise")

# A shell's background job ignores SIGINT, and so would every process that a test starts and interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# One folder for all processes of a test session: each would compile the same programs for itself.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    _compiled = tempfile.mkdtemp(prefix="shotwise-compiled-")
    atexit.register(shutil.rmtree, _compiled, ignore_errors=True)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _compiled
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"
