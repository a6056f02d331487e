"""Asking a provider what buys nothing, again until it answers or has had long enough."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from backends.provider import JobGone, ProviderUnavailable
from shotwise.errors import RunFailedError, UnreachableError
from tasks.retries import Backoff, RetryPolicy

R = TypeVar("R")

SILENCE = (ProviderUnavailable, UnreachableError)
"""What is raised where a call that buys nothing got no usable answer."""

BEFORE_START = RetryPolicy(first_s=0.2, longest_s=1.0, unavailable_s=5.0)
"""For what is asked before a run is entered, where a person waits for the answer."""


class UnresolvedJobError(RunFailedError):
    """Nobody can say yet whether a job was bought. Its reservation stays held; `resume` asks again."""


@dataclass(frozen=True)
class Patience:
    """How long a provider is waited for, and how."""

    retry_policy: RetryPolicy
    sleep: Callable[[float], None]

    def backoff(self) -> Backoff:
        """Waits that have not grown yet."""
        return Backoff(self.retry_policy, self.sleep)

    def answer(self, call: Callable[[], R], device: str) -> R:
        """What a device's provider answers to a call that changes nothing.

        Raises:
            UnresolvedJobError: it does not answer.
        """
        try:
            return self.with_retries(call)
        except SILENCE as error:
            raise UnresolvedJobError(f"{device}: {error}") from None

    def with_retries(self, call: Callable[[], R]) -> R:
        """Repeat a call that changes nothing until it is answered, or the retry policy is exhausted."""
        backoff = self.backoff()
        asked = time.monotonic()
        while True:
            try:
                return call()
            except SILENCE:
                if time.monotonic() - asked > self.retry_policy.unavailable_s:
                    raise
            except JobGone:  # one that was just taken may not be seen everywhere yet
                if time.monotonic() - asked > self.retry_policy.visible_s:
                    raise
            backoff.wait()


def ask_before_start(call: Callable[[], R]) -> R:
    """What is asked of a provider before a run starts, and changes nothing: again for a moment."""
    return Patience(BEFORE_START, time.sleep).with_retries(call)
