"""Ledger, journal and the providers' bills against each other: every difference is reported."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from backends.prices import Price
from backends.provider import BillLine, Provider
from ledger import (
    Amount,
    Database,
    JobPhase,
    JobRecord,
    Journal,
    Ledger,
    Reservation,
    ReservationError,
    ReservationState,
    jobs_of,
)
from ledger.statistics import record_reconciliation
from shotwise.errors import ShotwiseError
from shotwise.words import quantity


class DifferenceKind(StrEnum):
    """What two records disagree about."""

    LEDGER_JOURNAL = "ledger and journal"
    """The ledger's settlement is not what the journal's job cost."""
    BILL_HIGHER = "bill above journal"
    BILL_LOWER = "bill below journal"
    NOT_ON_BILL = "not on the bill"
    """A job that the journal calls paid, which the provider does not bill."""
    NOT_IN_JOURNAL = "not in the journal"
    """The provider bills a job of ours that the journal does not know."""
    BOUGHT_TWICE = "bought twice"
    """The provider knows several jobs for one token."""
    LEFT_BEHIND = "left behind"
    """A job that is out although its run has ended; `shotwise cancel` brings it to its end."""
    STILL_UNKNOWN = "still unknown"
    """Nobody knows yet whether the job was bought; its reservation is held."""
    DISPUTED = "disputed"
    """What was billed and no limit had room for, until somebody accepts or waives it."""
    UNAVAILABLE = "provider unavailable"
    LEDGER = "ledger audit"


@dataclass(frozen=True)
class Discrepancy:
    """One difference, or an open dispute. Amounts in micro-USD.

    Attributes:
        corrected: the ledger was brought to the bill, and nothing of it is disputed that was not before.
        waived: the bill is higher by what a person said was never owed.
        account: what pays for the job, where that is known.
        disputed_micro_usd: what is disputed now; of a difference, because it was to be corrected.
    """

    kind: DifferenceKind
    device: str
    token: str
    journal_micro_usd: int
    other_micro_usd: int
    note: str = ""
    corrected: bool = False
    account: str = ""
    disputed_micro_usd: int = 0
    waived: bool = False

    @property
    def remains(self) -> bool:
        """Whether somebody has yet to do something about it."""
        return not (self.corrected or self.waived)

    @property
    def told(self) -> str:
        """The note, with what was done about it and what is left to do."""
        ask = f"no room; `shotwise budget disputes {self.account}`"
        if self.kind is DifferenceKind.DISPUTED:
            return ask
        outcome = f"(disputed: {ask})" if self.disputed_micro_usd else "(corrected)" if self.corrected else ""
        return f"{self.note} {'(waived)' if self.waived else outcome}".strip()


def count_told(found: Sequence[Discrepancy]) -> str:
    """How many differences there are, and how many disputes are open."""
    differences = quantity(sum(d.kind is not DifferenceKind.DISPUTED for d in found), "difference")
    disputes = sum(d.disputed_micro_usd > 0 for d in found)
    return f"{differences}, {quantity(disputes, 'open dispute')}" if disputes else differences


def reconcile(
    database: Database, open_provider: Callable[[str], Provider], *, correct: bool = False
) -> list[Discrepancy]:
    """Compare all bought jobs with the ledger and with every provider's bill.

    Args:
        open_provider: from a device's name.
        correct: enter the bill's later corrections into the ledger; safe to repeat.
    """
    ledger = Ledger(database)
    found = [
        Discrepancy(DifferenceKind.LEDGER, "", "", 0, 0, note=str(difference))
        for difference in ledger.audit()
    ]
    by_device: dict[str, list[JobRecord]] = defaultdict(list)
    ended = {run.run_id for run in Journal(database).all_runs() if run.state.has_ended}
    for job in jobs_of(database):
        by_device[job.device].append(job)
        if job.run_id in ended and not job.state.ended:
            reserved = job.cost_micro_usd
            found.append(
                Discrepancy(DifferenceKind.LEFT_BEHIND, job.device, job.token, reserved, 0, job.run_id)
            )
    bills: dict[str, Sequence[BillLine]] = {}
    for device, jobs in sorted(by_device.items()):
        found += [d for job in jobs for d in _against_ledger(ledger, job)]
        try:
            bills[device] = open_provider(device).bill(_prices_then(jobs))
        except ShotwiseError as error:
            found.append(Discrepancy(DifferenceKind.UNAVAILABLE, device, "", 0, 0, note=str(error)))
    known = jobs_of(database)  # what was bought while the bills were read is on them
    for device, bill in bills.items():
        found += _against_bill(ledger, device, by_device[device], known, bill, correct=correct)
    return found


def reconcile_and_record(
    database: Database, open_provider: Callable[[str], Provider], *, correct: bool = False
) -> list[Discrepancy]:
    """`reconcile` and the open disputes; how many of each kind are left is entered for the metrics."""
    found = reconcile(database, open_provider, correct=correct)
    found += _open_disputes(database, {d.token for d in found if d.disputed_micro_usd})
    left = Counter(d.kind.value for d in found if d.remains)
    record_reconciliation(database, {kind.value: left[kind.value] for kind in DifferenceKind})
    return found


def _open_disputes(database: Database, without: Collection[str]) -> list[Discrepancy]:
    """A row for each token that has an open dispute, less those of which it is said already."""
    ledger = Ledger(database)
    tokens = dict.fromkeys(entry.token for entry in ledger.open_disputes() if entry.token is not None)
    wanted = [token for token in tokens if token not in without]
    devices = {job.token: job.device for job in jobs_of(database)} if wanted else {}
    found = []
    for token in wanted:
        now = ledger.find(token)
        spent, disputed = now.spent.micro_usd, now.disputed.micro_usd
        found.append(
            Discrepancy(
                DifferenceKind.DISPUTED,
                devices.get(token, ""),
                token,
                spent,
                spent + disputed,
                account=now.account,
                disputed_micro_usd=disputed,
            )
        )
    return found


def _prices_then(jobs: Sequence[JobRecord]) -> dict[str, Price]:
    return {job.token: Price.model_validate_json(job.price_json) for job in jobs if job.price_json}


def _against_ledger(ledger: Ledger, job: JobRecord) -> list[Discrepancy]:
    reservation = ledger.find(job.token)
    if not job.state.ended:
        if job.state is JobPhase.UNKNOWN:
            return [Discrepancy(DifferenceKind.STILL_UNKNOWN, job.device, job.token, job.cost_micro_usd, 0)]
        return []
    accounted = reservation.settled.micro_usd  # what the bill corrected later is not the journal's
    if reservation.state is not ReservationState.HELD and accounted == job.cost_micro_usd:
        return []
    note = f"the reservation is {reservation.state.value}"
    return [
        Discrepancy(DifferenceKind.LEDGER_JOURNAL, job.device, job.token, job.cost_micro_usd, accounted, note)
    ]


def _against_bill(
    ledger: Ledger,
    device: str,
    jobs: Sequence[JobRecord],
    known: Sequence[JobRecord],
    bill: Sequence[BillLine],
    *,
    correct: bool,
) -> list[Discrepancy]:
    """`jobs` against the bill, and the bill against all that are `known` by now."""
    ids = {job.vendor_job_id: job for job in known if job.device == device and job.vendor_job_id}
    tokens = {job.token: job for job in known if job.device == device}
    billed: dict[str, list[BillLine]] = defaultdict(list)
    found = []
    for line in bill:
        job = ids.get(line.job_id) or tokens.get(line.token or "")
        if job is None:
            found.append(
                Discrepancy(
                    DifferenceKind.NOT_IN_JOURNAL,
                    device,
                    line.token or "",
                    0,
                    line.cost_micro_usd,
                    line.job_id,
                )
            )
            continue
        billed[job.token].append(line)
    for job in jobs:
        found += _job_against_bill(ledger, job, billed[job.token], correct=correct)
    return found


def _job_against_bill(
    ledger: Ledger, job: JobRecord, lines: Sequence[BillLine], *, correct: bool
) -> list[Discrepancy]:
    billed, ids = sum(line.cost_micro_usd for line in lines), {line.job_id for line in lines}
    found = []
    if len(ids) > 1:
        found.append(
            Discrepancy(
                DifferenceKind.BOUGHT_TWICE,
                job.device,
                job.token,
                job.cost_micro_usd,
                billed,
                ", ".join(sorted(ids)),
            )
        )
    reservation = ledger.find(job.token)
    posted = (reservation.spent + reservation.disputed).micro_usd
    if not lines:
        if job.state.ended and posted:
            found.append(Discrepancy(DifferenceKind.NOT_ON_BILL, job.device, job.token, posted, 0))
        return found
    guessed = job.price_json is None and any(line.computed for line in lines)  # at a price of another time
    if job.state.ended and billed != posted and not guessed:
        kind = DifferenceKind.BILL_HIGHER if billed > posted else DifferenceKind.BILL_LOWER
        owed = max(billed - reservation.waived.micro_usd, min(billed, posted))
        difference = Discrepancy(
            kind, job.device, job.token, posted, billed, account=reservation.account, waived=owed == posted
        )
        to_correct = correct and not difference.waived
        found.append(_corrected(ledger, reservation, difference, owed) if to_correct else difference)
    return found


def _corrected(ledger: Ledger, before: Reservation, difference: Discrepancy, owed: int) -> Discrepancy:
    """A difference from the bill, entered but for what was waived, and what came of it."""
    try:
        now = _correct(ledger, before, owed)
    except ReservationError as error:
        return replace(difference, note=str(error))
    disputed = now.disputed.micro_usd
    if disputed > before.disputed.micro_usd:
        return replace(difference, disputed_micro_usd=disputed)
    return replace(difference, corrected=(now.spent + now.disputed).micro_usd == owed)


def _correct(ledger: Ledger, reservation: Reservation, billed: int) -> Reservation:
    """Make what is entered what is billed, and look; a lower bill ends disputes, which were not owed."""
    posted = (reservation.spent + reservation.disputed).micro_usd
    if billed < posted:
        for entry in ledger.open_disputes(reservation.account):
            if entry.token == reservation.token and entry.step is not None:
                ledger.resolve(reservation.token, entry.step, accept=False, note="provider's bill")
        reservation = ledger.find(reservation.token)
        posted = (reservation.spent + reservation.disputed).micro_usd
    if billed != posted:
        # a bill may come back to an earlier sum: which correction it is makes it one of its own
        reference = f"bill-{reservation.corrections}-{posted}-{billed}"
        ledger.correct(reservation.token, reference, Amount(0, billed - posted), note="provider's bill")
        reservation = ledger.find(reservation.token)
    return reservation
