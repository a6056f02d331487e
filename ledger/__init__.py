"""What was reserved, spent and recorded: the journal of runs and jobs, and the ledger of what they cost."""

from ledger.accounts import UNCHANGED, Unchanged
from ledger.amounts import Amount, Balance, Currency, dollars
from ledger.audit import Difference
from ledger.batch_id import BatchId
from ledger.database import Database
from ledger.device_health import DeviceHealth, Probe, ProbeVerdict
from ledger.device_history import DeviceHistory, device_histories, failing_devices
from ledger.errors import (
    BudgetExceededError,
    LimitTooLowError,
    NoAddressError,
    NotOpenedError,
    ReservationError,
    StorageError,
)
from ledger.holders import Holder
from ledger.jobs import (
    JobBook,
    JobRecord,
    Refusal,
    above_quotes_micro_usd,
    decisions_of,
    jobs_of,
    spent_by_device,
    treatments_of,
)
from ledger.journal import Journal
from ledger.lease import Lease
from ledger.ledger import Ledger
from ledger.rate_limit import claim_submission
from ledger.records import (
    CALIBRATION,
    FreeJob,
    IterationRecord,
    JobKey,
    JobPhase,
    NewRun,
    RunRecord,
    RunState,
    now_us,
)
from ledger.rules import BY_HAND, Entry, EntryKind, Reservation, ReservationState, Verdict
from ledger.submissions import Submission, Submissions

__all__ = [
    "BY_HAND",
    "CALIBRATION",
    "UNCHANGED",
    "Amount",
    "Balance",
    "BatchId",
    "BudgetExceededError",
    "Currency",
    "Database",
    "DeviceHealth",
    "DeviceHistory",
    "Difference",
    "Entry",
    "EntryKind",
    "FreeJob",
    "Holder",
    "IterationRecord",
    "JobBook",
    "JobKey",
    "JobPhase",
    "JobRecord",
    "Journal",
    "Lease",
    "Ledger",
    "LimitTooLowError",
    "NewRun",
    "NoAddressError",
    "NotOpenedError",
    "Probe",
    "ProbeVerdict",
    "Refusal",
    "Reservation",
    "ReservationError",
    "ReservationState",
    "RunRecord",
    "RunState",
    "StorageError",
    "Submission",
    "Submissions",
    "Unchanged",
    "Verdict",
    "above_quotes_micro_usd",
    "claim_submission",
    "decisions_of",
    "device_histories",
    "dollars",
    "failing_devices",
    "jobs_of",
    "now_us",
    "spent_by_device",
    "treatments_of",
]
