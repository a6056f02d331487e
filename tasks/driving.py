"""Holding a run while it is driven: the lease kept alive, a stop asked for and obeyed between iterations."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from ledger import Journal, Lease, Submissions
from shotwise.errors import LeaseLostError, RunBusyError
from shotwise.signals import set_by_signals
from shotwise.spec import BudgetSpec
from tasks.prepared import Prepared
from tasks.state import LoopState, from_bytes, initial, to_bytes

_RENEWALS_A_LEASE = 10
_BUSY_WAIT_S = 2.0


class StopAsked(Exception):  # noqa: N818 - a wish, not an error
    """The run was asked to stop while it waited; the journal knows what it waited for."""


@dataclass(frozen=True, eq=False)
class Drive:
    """One process driving one run.

    Attributes:
        lease: the right to write.
        started: monotonic time at which driving began.
        active_before_us: how long earlier drives lasted.
        stop: set when the run shall end after its current step, or in its current wait.
        cancelled: set when it shall end for good.
    """

    lease: Lease
    started: float
    active_before_us: int
    stop: threading.Event = field(default_factory=threading.Event)
    cancelled: threading.Event = field(default_factory=threading.Event)

    def check_cancellation(self) -> None:
        """Stop, for good, if the journal says that the run shall end."""
        if Submissions(self.lease.database).is_cancelled(self.lease.run_id):
            self.cancelled.set()
            self.stop.set()

    @property
    def active_us(self) -> int:
        """How long the run has been driven in all."""
        return self.active_before_us + int(1e6 * (time.monotonic() - self.started))

    def sleep(self, seconds: float) -> None:
        """Wait, unless the run is asked to stop.

        Raises:
            StopAsked: it was, before or meanwhile.
        """
        if self.stop.wait(seconds):
            raise StopAsked

    def check_stop(self) -> None:
        """Between two steps that are long or many.

        Raises:
            StopAsked: the run is asked to stop.
        """
        if self.stop.is_set():
            raise StopAsked

    def deadline(self, budget: BudgetSpec) -> float:
        """Monotonic time at which the wall-clock budget ends."""
        if budget.wall_s is None:
            return float("inf")
        return self.started + budget.wall_s - self.active_before_us / 1e6

    def is_out_of_time(self, budget: BudgetSpec) -> bool:
        """Whether the wall-clock budget has ended."""
        return time.monotonic() >= self.deadline(budget)


def acquire_with_retries(journal: Journal, run_id: str) -> Lease:
    """Acquire a run, giving a driver that was just killed a moment to be gone."""
    give_up = time.monotonic() + _BUSY_WAIT_S
    while True:
        try:
            return journal.acquire(run_id)
        except RunBusyError:
            if time.monotonic() > give_up:
                raise
            time.sleep(0.1)


def restore_or_initialize(prepared: Prepared, lease: Lease) -> tuple[Prepared, LoopState]:
    """A run's last checkpoint; or its first, entered before anything is measured: what was chosen stays."""
    restored = lease.restore()
    if restored:
        state = from_bytes(prepared, restored[1])
    else:
        state = initial(prepared)
        if prepared.sampled:
            lease.commit([], iteration=0, state=to_bytes(state), active_us=0)
    return prepared.measured_in(state.grouping, state.final_grouping), state


@contextmanager
def renewing(
    lease: Lease, meanwhile: Callable[[], None] = lambda: None, *, lost: Callable[[], None] = lambda: None
) -> Iterator[None]:
    """Keep a lease alive from a thread of its own while the block runs, however long that waits.

    Args:
        meanwhile: what else is looked after at every renewal.
        lost: told once if somebody else took the lease.
    """
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(lease.lease_s / _RENEWALS_A_LEASE):
            try:
                lease.renew()
                meanwhile()
            except LeaseLostError:
                lost()
                return
            except Exception:
                continue

    keeper = threading.Thread(target=renew, name="lease", daemon=True)
    keeper.start()
    try:
        yield
    finally:
        ended.set()
        keeper.join()


@contextmanager
def driving(lease: Lease, active_before_us: int) -> Iterator[Drive]:
    """Keep a lease alive, and turn a cancellation, SIGINT and SIGTERM into a request to stop.

    The run obeys after its current step or job, or at once where it only waits (for a provider, say).
    A second signal interrupts at once whatever it does; whatever was committed stays.
    """
    drive = Drive(lease, time.monotonic(), active_before_us)
    drive.check_cancellation()
    # a lease that is lost: the next commit will say why
    with set_by_signals(drive.stop), renewing(lease, drive.check_cancellation, lost=drive.stop.set):
        yield drive
