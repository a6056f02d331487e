"""What a state folder had before it became a team's: its journal and ledger go into the team's database.

Limits must hold and spent money stay spent when PostgreSQL takes the place of SQLite.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ledger import Database
from ledger.handover import check_undriven, extent, hand_over
from shotwise.home import Home
from shotwise.words import quantity

OLD_JOURNAL = "shotwise-before-team.db"


def check_can_hand_over(home: Home) -> None:
    """Refuse while a process drives a run of the folder's own journal.

    Raises:
        RunBusyError: one does.
    """
    if home.own_journal.exists():
        with _opened(f"sqlite:///{home.own_journal}") as own:
            check_undriven(own)


def hand_over_journal(home: Home, team_url: str, say: Callable[[str], None]) -> bool:
    """Hand the folder's own journal over to the team's database; whether it is there now.

    To be called before any command uses the team's; `retire_journal` after that.

    Raises:
        RunBusyError: a live process drives one of its runs.
        RunFailedError: the books would not be right; nothing was handed over.
    """
    if not home.own_journal.exists():
        return False
    with _opened(f"sqlite:///{home.own_journal}") as own, _opened(team_url) as team:
        has = extent(own)
        what = f"{quantity(has.n_runs, 'run')}, {quantity(has.n_accounts, 'account')}"
        done = hand_over(own, team)
    if done and has:
        say(f"carried over from {home.own_journal.name}: {what}")
    elif has:
        say(
            f"not carried over from {home.own_journal.name}: {what}, as the team's database has its own; "
            "set limits again with `shotwise budget set`, then move the file away"
        )
    return done


def retire_journal(home: Home) -> None:
    """Rename the journal that was handed over; at the next `up` where a process still reads it."""
    left_open = home.own_journal.with_name(f"{home.own_journal.name}-wal").exists()
    if not left_open and not (home.root / OLD_JOURNAL).exists():
        home.own_journal.rename(home.root / OLD_JOURNAL)


@contextmanager
def _opened(url: str) -> Iterator[Database]:
    database = Database(url)
    try:
        yield database
    finally:
        database.close()
