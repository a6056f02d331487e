"""Every way the sandbox can be told to misbehave, and the book that counts how often it did."""

from __future__ import annotations

import hashlib
import sqlite3
from decimal import Decimal
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from backends.sandbox.messages import Message


class FaultKind(StrEnum):
    """A fault, and what it takes `seconds` and `factor` for."""

    SUBMIT_TIMEOUT_BEFORE = "submit_timeout_before"
    """Nothing accepted; no answer for `seconds`, then 504."""
    SUBMIT_RATE_LIMITED = "submit_rate_limited"
    """429 with Retry-After `seconds`."""
    SUBMIT_CONFLICT = "submit_conflict"
    """409: another submission with this token is said to be in progress. Nothing accepted."""
    SUBMIT_ERROR_BEFORE = "submit_error_before"
    """500, nothing accepted."""
    SUBMIT_OFFLINE = "submit_offline"
    """503 with Retry-After `seconds`: the device went offline between decision and submission."""
    SUBMIT_GONE = "submit_gone"
    """410: the device was retired."""
    SUBMIT_QUOTA = "submit_quota"
    """402: the account's quota is used up; with `after_n`, in the middle of a batch of jobs."""
    SUBMIT_TIMEOUT_AFTER = "submit_timeout_after"
    """Accepted; no answer for `seconds`, then 504."""
    SUBMIT_ERROR_AFTER = "submit_error_after"
    """Accepted, and 500."""
    SUBMIT_REPLY_LOST = "submit_reply_lost"
    """Accepted; the connection breaks in the middle of the answer."""
    SUBMIT_ACCEPTED_LATE = "submit_accepted_late"
    """504 at once; the job exists, and searches find it only `seconds` later."""
    SUBMIT_DUPLICATE_REPLY = "submit_duplicate_reply"
    """Accepted; the answer is the one to the device's previous submission, delivered a second time."""
    SUBMIT_DELIVERED_TWICE = "submit_delivered_twice"
    """The request arrives twice: two jobs under one tag where tokens are ignored."""

    JOB_STUCK_QUEUED = "job_stuck_queued"
    """The job never starts."""
    JOB_FAILS = "job_fails"
    """Fails after `factor` of its shots."""
    JOB_PARTIAL = "job_partial"
    """Done with `factor` of its shots."""
    JOB_RESULT_MISSING = "job_result_missing"
    """Done, billed, without a result."""
    JOB_OUT_OF_ORDER = "job_out_of_order"
    """One poll answers with an earlier state."""
    CANCEL_RACES_COMPLETION = "cancel_races_completion"
    """The job is completed when the request to cancel it arrives."""
    COMPLETES_AFTER_CANCEL = "completes_after_cancel"
    """Cancelled, and `seconds` later done after all, and billed in full."""

    BILL_ABOVE_QUOTE = "bill_above_quote"
    """Billed at `factor` of its price."""
    BILL_LATE_CORRECTION = "bill_late_correction"
    """`seconds` after the bill another line over `factor` of it, which may be negative."""
    PRICE_CHANGE = "price_change"
    """The device's price is `factor` of what it was, from this submission on."""

    CALIBRATION_MISSING = "calibration_missing"
    CALIBRATION_STALE = "calibration_stale"
    """`seconds` older than it was."""
    CALIBRATION_FUTURE = "calibration_future"
    """Taken `seconds` from now."""
    CALIBRATION_NAN = "calibration_nan"
    CALIBRATION_ERROR_ONE = "calibration_error_one"

    READ_ERROR = "read_error"
    """500 to a question: poll, fetch, find, cancel, bill, queue, calibration."""


ABSORBED_KINDS = (
    FaultKind.SUBMIT_TIMEOUT_BEFORE,
    FaultKind.SUBMIT_RATE_LIMITED,
    FaultKind.SUBMIT_CONFLICT,
    FaultKind.SUBMIT_ERROR_BEFORE,
    FaultKind.SUBMIT_OFFLINE,
    FaultKind.SUBMIT_TIMEOUT_AFTER,
    FaultKind.SUBMIT_ERROR_AFTER,
    FaultKind.SUBMIT_REPLY_LOST,
    FaultKind.SUBMIT_DUPLICATE_REPLY,
    FaultKind.JOB_OUT_OF_ORDER,
    FaultKind.READ_ERROR,
)
"""What a careful client absorbs: with these a run ends with the same counts and the same bill as without."""

_SECONDS = {
    FaultKind.SUBMIT_TIMEOUT_BEFORE: 5.0,
    FaultKind.SUBMIT_TIMEOUT_AFTER: 5.0,
    FaultKind.SUBMIT_RATE_LIMITED: 1.0,
    FaultKind.SUBMIT_OFFLINE: 60.0,
    FaultKind.SUBMIT_ACCEPTED_LATE: 1.0,
    FaultKind.COMPLETES_AFTER_CANCEL: 1.0,
    FaultKind.BILL_LATE_CORRECTION: 1.0,
    FaultKind.CALIBRATION_STALE: 48 * 3600.0,
    FaultKind.CALIBRATION_FUTURE: 6 * 3600.0,
}
_FACTOR = {
    FaultKind.JOB_FAILS: Decimal("0.5"),
    FaultKind.JOB_PARTIAL: Decimal("0.5"),
    FaultKind.BILL_ABOVE_QUOTE: Decimal("1.5"),
    FaultKind.BILL_LATE_CORRECTION: Decimal("0.25"),
    FaultKind.PRICE_CHANGE: Decimal(2),
}


class FaultSpec(Message):
    """One fault to inject.

    Attributes:
        device: None for any.
        times: how often it may fire; None for always.
        probability: of firing at an opportunity; drawn from (seed, kind, subject, visit), where the subject
            is the job's first tag and the visit how often it came by: a crash elsewhere shifts no draw.
        after_n: let this many opportunities pass first.
        seconds, factor: what the kind takes them for; None for its default.
    """

    kind: FaultKind
    device: str | None = None
    times: int | None = Field(default=1, ge=1)
    probability: float = Field(default=1.0, gt=0, le=1)
    seed: int = Field(default=0, ge=0, lt=1 << 63)
    after_n: int = Field(default=0, ge=0)
    seconds: float | None = Field(default=None, ge=0, le=1e9)
    factor: Annotated[Decimal, Field(ge=-100, le=100)] | None = None

    @property
    def seconds_used(self) -> float:
        return self.seconds if self.seconds is not None else _SECONDS.get(self.kind, 0.0)

    @property
    def factor_used(self) -> Decimal:
        return self.factor if self.factor is not None else _FACTOR.get(self.kind, Decimal(1))

    def draws(self, subject: str, visit: int) -> bool:
        """Whether chance lets it fire at this visit of this subject."""
        digest = hashlib.sha256(f"{self.seed}/{self.kind}/{subject}/{visit}".encode()).digest()
        return int.from_bytes(digest[:8]) < self.probability * 2**64


class RandomFaults(Message):
    """A campaign: each kind fires at `rate` of its opportunities, for ever."""

    seed: int = Field(ge=0, lt=1 << 63)
    rate: float = Field(gt=0, le=1)
    kinds: tuple[FaultKind, ...] = ABSORBED_KINDS
    device: str | None = None
    seconds: float | None = Field(default=None, ge=0, le=1e9)

    def specs(self) -> list[FaultSpec]:
        return [
            FaultSpec(
                kind=kind,
                device=self.device,
                times=None,
                probability=self.rate,
                seed=self.seed,
                seconds=self.seconds,
            )
            for kind in self.kinds
        ]


class FaultStatus(Message):
    """An injected fault: how often it could have fired and how often it did. Cleared ones stay listed."""

    fault_id: int
    spec: FaultSpec
    active: bool
    opportunities: int
    fired: int


class FaultList(Message):
    faults: tuple[FaultStatus, ...]


def add_fault(tx: sqlite3.Connection, spec: FaultSpec) -> int:
    """Inject a fault; its id."""
    cursor = tx.execute(
        "INSERT INTO faults (kind, device, spec_json) VALUES (?, ?, ?)",
        (spec.kind, spec.device, spec.model_dump_json()),
    )
    assert cursor.lastrowid is not None
    return cursor.lastrowid


def visit(tx: sqlite3.Connection, kind: FaultKind, device: str, subject: str) -> FaultSpec | None:
    """An opportunity for a fault of this kind: the spec that fires, counted, or None."""
    rows = tx.execute(
        "SELECT * FROM faults WHERE active AND kind = ? AND (device IS NULL OR device = ?) ORDER BY fault_id",
        (kind, device),
    ).fetchall()
    for row in rows:
        spec, fault_id = FaultSpec.model_validate_json(row["spec_json"]), row["fault_id"]
        tx.execute("UPDATE faults SET opportunities = opportunities + 1 WHERE fault_id = ?", (fault_id,))
        spent = spec.times is not None and row["fired"] >= spec.times
        if spent or row["opportunities"] < spec.after_n:
            continue
        if spec.probability < 1 and not spec.draws(subject, _visits(tx, fault_id, subject)):
            continue
        tx.execute("UPDATE faults SET fired = fired + 1 WHERE fault_id = ?", (fault_id,))
        return spec
    return None


def statuses(tx: sqlite3.Connection) -> FaultList:
    """Every fault injected so far."""
    rows = tx.execute("SELECT * FROM faults ORDER BY fault_id").fetchall()
    return FaultList(
        faults=tuple(
            FaultStatus(
                fault_id=row["fault_id"],
                spec=FaultSpec.model_validate_json(row["spec_json"]),
                active=bool(row["active"]),
                opportunities=row["opportunities"],
                fired=row["fired"],
            )
            for row in rows
        )
    )


def clear(tx: sqlite3.Connection) -> None:
    """No fault fires any more; the counts stay."""
    tx.execute("UPDATE faults SET active = 0")


def _visits(tx: sqlite3.Connection, fault_id: int, subject: str) -> int:
    """How often the subject came by before, and count this time."""
    row = tx.execute(
        "INSERT INTO visits (fault_id, subject, visits) VALUES (?, ?, 1)"
        " ON CONFLICT (fault_id, subject) DO UPDATE SET visits = visits + 1 RETURNING visits",
        (fault_id, subject),
    ).fetchone()
    return row["visits"] - 1
