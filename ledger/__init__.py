"""What was promised, spent and recorded: the journal's database, its runs, leases, iterations and jobs."""

from ledger.database import Database
from ledger.journal import IterationRecord, JobKey, Journal, Lease, RunRecord, now_us

__all__ = ["Database", "IterationRecord", "JobKey", "Journal", "Lease", "RunRecord", "now_us"]
