"""Runs entered into a journal by hand, for what reads journals."""

from __future__ import annotations

import json

import numpy as np
from sqlalchemy import update

from ledger import (
    Amount,
    FreeJob,
    IterationRecord,
    JobBook,
    JobKey,
    JobPhase,
    Journal,
    Ledger,
    NewRun,
    now_us,
)
from ledger.tables import runs


def enter_run(
    journal: Journal,
    name: str,
    energies: list[float],
    *,
    std_error: float = 0.01,
    micro_usd: int = 0,
    parent: str | None = None,
    ansatz_json: str | None = None,
    problem_sha256: str = "0123456789abcdef",
    tenant: str = "lab",
) -> str:
    """A completed run with one job an iteration, bought where it costs anything; its id."""
    spec = {
        "name": name,
        "problem": {"kind": "molecule", "geometry": "H 0 0 0; H 0 0 0.74"},
        "optimizer": {"name": "spsa", "max_iterations": len(energies)},
        "execution": {"mode": "shots", "shots": 100, "device": "garnet"},
        "account": {"tenant": tenant, "project": "p"},
    }
    run_id = journal.create_run(
        NewRun(
            name=name,
            kind="molecule",
            spec_json=json.dumps(spec),
            problem_sha256=problem_sha256,
            versions_json=json.dumps({"git_commit": "unknown"}),
        ),
        parent=parent,
    )
    lease = journal.acquire(run_id)
    account = f"{tenant}/p/{run_id}"
    Ledger(journal.database).open_account(account)
    book = JobBook(lease, account)
    for at, energy in enumerate(energies):
        key = JobKey(run_id, at, 0)
        if micro_usd:
            calibration = json.dumps({"taken_us": now_us() - 3_600_000_000})
            book.record_decision(at, 0, 0, "{}", took_us=2_000)
            book.intend(
                key, device="garnet", reserved=Amount(100, 2 * micro_usd), calibration_json=calibration
            )
            book.mark_submitted(key, f"vendor-{at}")
            book.mark_started(key)
            book.mark_done(key, b"outcome", Amount(100, micro_usd))
        else:
            lease.record(FreeJob(key, "jax", 100, b"outcome", now_us()))
        record = IterationRecord(
            at, now_us(), energy, std_error, None, None, 1, 100, micro_usd, np.zeros(2).tobytes()
        )
        lease.commit([record], iteration=at + 1, state=b"state", active_us=1_000_000 * (at + 1))
    result = {
        "energy": energies[-1],
        "energy_std_error": std_error,
        "reference_energy": -1.137,
        "reference_method": "FCI",
        "fidelity": 0.99,
        "shots": 100 * len(energies),
    }
    lease.finish(
        state="completed",
        reason="iteration_limit",
        result_json=json.dumps(result),
        ansatz_json=ansatz_json,
    )
    return run_id


def enter_trouble(journal: Journal, run_id: str) -> None:
    """A second drive of the run that ends nothing: a failed attempt, a partial one, and one left unknown."""
    with journal.database.write() as connection:
        connection.execute(update(runs).where(runs.c.run_id == run_id).values(state="interrupted"))
    lease = journal.acquire(run_id)
    book = JobBook(lease, f"lab/p/{run_id}")
    first, second, third = (JobKey(run_id, 99, 0, attempt) for attempt in range(3))
    for key in (first, second, third):
        book.intend(key, device="forte", reserved=Amount(100, 500))
    book.mark_ended(first, JobPhase.FAILED, Amount(0, 7), "failed")
    book.mark_submitted(second, "vendor-99")
    book.mark_done(second, b"outcome", Amount(60, 300))
    book.mark_unknown(third, "lost")
