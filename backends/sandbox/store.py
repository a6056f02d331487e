"""The sandbox's own durable store, one SQLite file: jobs, bill, faults, clock. SIGKILL loses nothing."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields
from decimal import Decimal
from pathlib import Path

from backends.provider import JobState
from backends.sandbox.jobs import Job
from backends.sandbox.messages import BILL_PAGE_LINES, BillLineMessage

_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    job_id TEXT NOT NULL UNIQUE,
    device TEXT NOT NULL,
    token TEXT,
    tags_json TEXT NOT NULL,
    plan_json TEXT NOT NULL,
    plan_sha256 TEXT NOT NULL,
    price_json TEXT NOT NULL,
    submitted_us INTEGER NOT NULL,
    visible_us INTEGER NOT NULL,
    start_us INTEGER,
    end_us INTEGER,
    state TEXT NOT NULL,
    shots_done INTEGER NOT NULL,
    has_result INTEGER NOT NULL,
    revives_us INTEGER,
    cost_micro_usd INTEGER,
    message TEXT NOT NULL,
    result_json TEXT,
    UNIQUE (device, token)
);
CREATE INDEX IF NOT EXISTS jobs_due ON jobs (state, end_us);
CREATE INDEX IF NOT EXISTS jobs_revive ON jobs (revives_us) WHERE revives_us IS NOT NULL;
CREATE TABLE IF NOT EXISTS tags (
    device TEXT NOT NULL, tag TEXT NOT NULL, job_id TEXT NOT NULL, PRIMARY KEY (device, tag, job_id)
);
CREATE TABLE IF NOT EXISTS bill (
    line INTEGER PRIMARY KEY AUTOINCREMENT,
    device TEXT NOT NULL,
    job_id TEXT NOT NULL,
    token TEXT,
    cost_micro_usd INTEGER NOT NULL,
    description TEXT NOT NULL,
    visible_us INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS faults (
    fault_id INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    device TEXT,
    spec_json TEXT NOT NULL,
    active INTEGER NOT NULL DEFAULT 1,
    opportunities INTEGER NOT NULL DEFAULT 0,
    fired INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS visits (
    fault_id INTEGER NOT NULL, subject TEXT NOT NULL, visits INTEGER NOT NULL, PRIMARY KEY (fault_id, subject)
);
CREATE TABLE IF NOT EXISTS price_factors (device TEXT PRIMARY KEY, factor TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS clock (only INTEGER PRIMARY KEY CHECK (only = 1), offset_us INTEGER NOT NULL);
INSERT OR IGNORE INTO clock VALUES (1, 0);
"""

_JOB_COLUMNS = ", ".join(field.name for field in fields(Job))
_JOB_VALUES = ", ".join(f":{field.name}" for field in fields(Job))
_JOB_CHANGES = ", ".join(f"{field.name} = :{field.name}" for field in fields(Job))


class Store:
    """Transactions on the sandbox's file. Thread-safe: one at a time."""

    def __init__(self, path: Path) -> None:
        path.touch(mode=0o600)
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=30)
        self._connection.row_factory = sqlite3.Row
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.executescript(_SCHEMA)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """On disk when it ends; undone on an exception."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def close(self) -> None:
        with self._lock:
            self._connection.close()


def clock_offset_us(tx: sqlite3.Connection) -> int:
    return tx.execute("SELECT offset_us FROM clock").fetchone()["offset_us"]


def set_clock_offset_us(tx: sqlite3.Connection, offset_us: int) -> None:
    tx.execute("UPDATE clock SET offset_us = ?", (offset_us,))


def now_us(tx: sqlite3.Connection) -> int:
    """The sandbox's time: this machine's, moved by the offset that tests set."""
    return time.time_ns() // 1000 + clock_offset_us(tx)


def insert_job(tx: sqlite3.Connection, job: Job) -> None:
    tx.execute(f"INSERT INTO jobs ({_JOB_COLUMNS}) VALUES ({_JOB_VALUES})", asdict(job))
    tx.executemany(
        "INSERT OR IGNORE INTO tags (device, tag, job_id) VALUES (?, ?, ?)",
        [(job.device, tag, job.job_id) for tag in job.tags],
    )


def update_job(tx: sqlite3.Connection, job: Job) -> None:
    """Record what became of a job; a result that was computed before no longer counts."""
    tx.execute(f"UPDATE jobs SET {_JOB_CHANGES}, result_json = NULL WHERE job_id = :job_id", asdict(job))


def job_by_id(tx: sqlite3.Connection, job_id: str) -> Job | None:
    return _one(tx, "WHERE job_id = ?", (job_id,))


def job_by_token(tx: sqlite3.Connection, device: str, token: str) -> Job | None:
    return _one(tx, "WHERE device = ? AND token = ?", (device, token))


def newest_other_job(tx: sqlite3.Connection, job: Job) -> Job | None:
    """The device's latest job that was submitted under other tags."""
    return _one(
        tx,
        "WHERE device = ? AND tags_json != ? ORDER BY seq DESC LIMIT 1",
        (job.device, job.tags_json),
    )


def jobs_due(tx: sqlite3.Connection, at_us: int) -> list[Job]:
    """Jobs whose end, or second end after a cancellation, is not recorded yet, in the order of time."""
    return _many(
        tx,
        "WHERE (state = ? AND end_us <= ?) OR revives_us <= ? ORDER BY coalesce(revives_us, end_us), seq",
        (JobState.QUEUED, at_us, at_us),
    )


def open_jobs(tx: sqlite3.Connection, device: str) -> tuple[int, int]:
    """(number of jobs that have not ended, when the last of them will); 0 where none has an end."""
    row = tx.execute(
        "SELECT count(*) AS jobs, coalesce(max(end_us), 0) AS last FROM jobs WHERE device = ? AND state = ?",
        (device, JobState.QUEUED),
    ).fetchone()
    return row["jobs"], row["last"]


def jobs_with_tag(tx: sqlite3.Connection, device: str, tag: str, at_us: int) -> list[str]:
    """Ids of the jobs that a search finds, oldest first."""
    rows = tx.execute(
        "SELECT job_id FROM jobs JOIN tags USING (device, job_id)"
        " WHERE device = ? AND tag = ? AND visible_us <= ? ORDER BY seq",
        (device, tag, at_us),
    )
    return [row["job_id"] for row in rows]


def result_json(tx: sqlite3.Connection, job_id: str) -> str | None:
    return tx.execute("SELECT result_json FROM jobs WHERE job_id = ?", (job_id,)).fetchone()["result_json"]


def keep_result(tx: sqlite3.Connection, job_id: str, state: str, result: str) -> None:
    """Keep a computed result, unless the job has moved on since."""
    tx.execute("UPDATE jobs SET result_json = ? WHERE job_id = ? AND state = ?", (result, job_id, state))


def add_bill_line(
    tx: sqlite3.Connection, job: Job, cost_micro_usd: int, description: str, at_us: int
) -> None:
    tx.execute(
        "INSERT INTO bill (device, job_id, token, cost_micro_usd, description, visible_us)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (job.device, job.job_id, job.token, cost_micro_usd, description, at_us),
    )


def bill_lines(tx: sqlite3.Connection, device: str, after: int, at_us: int) -> tuple[BillLineMessage, ...]:
    """A page of what the bill shows now."""
    rows = tx.execute(
        "SELECT line, job_id, token, cost_micro_usd, description FROM bill"
        " WHERE device = ? AND line > ? AND visible_us <= ? ORDER BY line LIMIT ?",
        (device, after, at_us, BILL_PAGE_LINES),
    )
    return tuple(BillLineMessage(**dict(row)) for row in rows)


def price_factor(tx: sqlite3.Connection, device: str) -> Decimal:
    row = tx.execute("SELECT factor FROM price_factors WHERE device = ?", (device,)).fetchone()
    return Decimal(row["factor"]) if row else Decimal(1)


def set_price_factor(tx: sqlite3.Connection, device: str, factor: Decimal) -> None:
    tx.execute("INSERT OR REPLACE INTO price_factors VALUES (?, ?)", (device, str(factor)))


def _one(tx: sqlite3.Connection, where: str, values: tuple[object, ...]) -> Job | None:
    row = tx.execute(f"SELECT {_JOB_COLUMNS} FROM jobs {where}", values).fetchone()
    return Job(**dict(row)) if row else None


def _many(tx: sqlite3.Connection, where: str, values: tuple[object, ...]) -> list[Job]:
    return [Job(**dict(row)) for row in tx.execute(f"SELECT {_JOB_COLUMNS} FROM jobs {where}", values)]
