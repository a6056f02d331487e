"""How the sandbox says no, or says nothing."""

from __future__ import annotations


class Refused(Exception):  # noqa: N818 - an answer, not an accident
    """Answered with an HTTP status, a code for programs and a sentence for people."""

    def __init__(self, status: int, code: str, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.retry_after_s = status, code, message, retry_after_s


class NoResponse(Exception):  # noqa: N818
    """No answer for `seconds`, or until the client hangs up; then a gateway's 504."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"no answer for {seconds} s")
        self.seconds = seconds


class ConnectionDropped(Exception):  # noqa: N818
    """The connection breaks in the middle of the answer."""
