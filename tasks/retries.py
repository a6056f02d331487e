"""How long to wait and how often to try: exponential backoff, and submissions that are refused for now."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from backends.provider import SubmitRejected


@dataclass(frozen=True)
class RetryPolicy:
    """How long to wait for what. Waits grow from `first_s` to `longest_s` and carry a jitter of a quarter.

    Attributes:
        attempts_max: jobs that fail for one batch before the device is given up, or submissions that are
            turned away now where another device could take it.
        unavailable_s: how long a provider may give no usable answer, or turn away what no other can take.
        visible_s: how long an accepted job may stay invisible to a search by its token.
        counted_s: how long an ended job's cost may be counted before all that was reserved is taken for it.
        stuck_s: how long a job may be queued before it is cancelled.
    """

    first_s: float = 0.05
    longest_s: float = 30.0
    attempts_max: int = 6
    unavailable_s: float = 600.0
    visible_s: float = 5.0
    counted_s: float = 120.0
    stuck_s: float = 24 * 3600.0


@dataclass
class Backoff:
    """Growing waits with jitter. The jitter decides no result, so it needs no seed."""

    retry_policy: RetryPolicy
    sleep: Callable[[float], None] = time.sleep
    next_s: float = 0.0

    def wait(self, at_least_s: float = 0.0) -> None:
        self.next_s = min(max(self.retry_policy.first_s, 2 * self.next_s), self.retry_policy.longest_s)
        self.sleep(max(at_least_s, self.next_s * random.uniform(0.75, 1.25)))


@dataclass
class SubmitRetry:
    """Submissions that a provider refuses for now, tried again with backoff within one drive.

    Attributes:
        only_device: whether no other device could take what is refused: then it is waited for long.
    """

    backoff: Backoff
    only_device: bool
    refusals: int = 0
    since_s: float = 0.0

    def wait_for_retry(self, refusal: SubmitRejected) -> bool:
        """Wait, and say whether to try again."""
        if refusal.permanent:
            return False
        retry_policy, now_s = self.backoff.retry_policy, time.monotonic()
        self.since_s = self.since_s or now_s
        self.refusals += 1
        often = self.refusals >= retry_policy.attempts_max and not self.only_device
        if often or now_s - self.since_s > retry_policy.unavailable_s:
            return False
        self.backoff.wait(refusal.retry_after_s or 0.0)
        return True
