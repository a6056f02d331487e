"""What was promised, spent and recorded: the journal of runs and jobs, and the ledger of what they cost."""

from ledger.accounts import KEEP, Keep
from ledger.amounts import Amount, Balance, Currency
from ledger.audit import Difference
from ledger.database import Database
from ledger.errors import BudgetExceededError, LimitTooLowError, ReservationError, StorageError
from ledger.jobs import JobBook, JobPhase, JobRecord, decisions_of, jobs_of
from ledger.journal import IterationRecord, JobKey, Journal, Lease, RunRecord, now_us
from ledger.ledger import Ledger
from ledger.rules import Entry, EntryKind, Reservation, ReservationState

__all__ = [
    "KEEP",
    "Amount",
    "Balance",
    "BudgetExceededError",
    "Currency",
    "Database",
    "Difference",
    "Entry",
    "EntryKind",
    "IterationRecord",
    "JobBook",
    "JobKey",
    "JobPhase",
    "JobRecord",
    "Journal",
    "Keep",
    "Lease",
    "Ledger",
    "LimitTooLowError",
    "Reservation",
    "ReservationError",
    "ReservationState",
    "RunRecord",
    "StorageError",
    "decisions_of",
    "jobs_of",
    "now_us",
]
