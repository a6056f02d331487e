"""What holds for every test: Hypothesis without deadlines, and processes that hear an interrupt."""

import signal

from hypothesis import settings

# A slow machine is not a failure.
settings.register_profile("shotwise", deadline=None)
settings.load_profile("shotwise")

# A shell's background job ignores SIGINT, and so would every process that a test starts and interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
