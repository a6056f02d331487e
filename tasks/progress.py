"""Who watches a run in this process. The loop tells; a terminal, a test or the Prefect UI listens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """Where a run stands after an iteration.

    Attributes:
        iteration, iterations_max: done, and at most.
        energy, energy_std_error: of the last iteration; of the CVaR where that is minimised.
        quantity: what it is called.
        shots, cost_micro_usd: spent by the run so far.
    """

    run_id: str
    iteration: int
    iterations_max: int
    energy: float
    energy_std_error: float
    reference_energy: float | None
    unit: str
    shots: int
    cost_micro_usd: int
    quantity: str = "energy"

    def line(self) -> str:
        """One line for a person."""
        bar = f" +- {self.energy_std_error:.1e}" if self.energy_std_error else ""
        unit = f" {self.unit}" if self.unit else ""
        at = f"iteration {self.iteration}/{self.iterations_max}"
        spent = f"  shots {self.shots:,}  cost ${self.cost_micro_usd / 1e6:.2f}" if self.shots else ""
        return f"{self.run_id}  {at}  {self.quantity} {self.energy:.8f}{bar}{unit}{spent}"


Listener = Callable[[Progress], None]

_listeners: ContextVar[tuple[Listener, ...]] = ContextVar("listeners", default=())


@contextmanager
def progress_listener(listener: Listener) -> Iterator[None]:
    """Let `listener` hear of every iteration that is committed inside the block."""
    token = _listeners.set((*_listeners.get(), listener))
    try:
        yield
    finally:
        _listeners.reset(token)


EntryListener = Callable[[str], None]

_entry_listener: ContextVar[EntryListener | None] = ContextVar("entry_listener", default=None)


@contextmanager
def entry_listener(listener: EntryListener) -> Iterator[None]:
    """Let `listener` hear the id of a new run that is entered inside the block, before it starts."""
    token = _entry_listener.set(listener)
    try:
        yield
    finally:
        _entry_listener.reset(token)


def notify_entered(run_id: str) -> None:
    """Tell the id of a run that was just entered."""
    if listener := _entry_listener.get():
        listener(run_id)


def notify_listeners(progress: Progress) -> None:
    """Call every listener of this block."""
    for listener in _listeners.get():
        listener(progress)
