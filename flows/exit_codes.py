"""Exit codes of the command line; those of errors are in `shotwise.errors`, and mean the same."""

EXIT_CANNOT_RUN = 3
"""Nothing can run it here."""
EXIT_FAILED = 4
"""It ran and failed, or is not as it should be: books that differ, a driver that has not obeyed yet."""
EXIT_INTERRUPTED = 130
"""As a shell says it of what SIGINT ended; the journal is intact."""
