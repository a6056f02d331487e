"""A lease is kept for as long as something is waited for."""

import threading
import time

from ledger import Journal, NewRun
from tasks.driving import renewing


def test_a_lease_outlives_its_length_while_something_is_waited_for(journal: Journal) -> None:
    new = NewRun(name="run", kind="pauli", spec_json="{}", problem_sha256="", versions_json="{}")
    lease = journal.acquire(journal.create_run(new), lease_s=2.0)
    first, renewals, twice = lease_end(journal, lease.run_id), [], threading.Event()

    def meanwhile() -> None:
        renewals.append(lease_end(journal, lease.run_id))
        if len(renewals) == 2:
            twice.set()

    with renewing(lease, meanwhile):
        assert twice.wait(60)
    assert first < renewals[0] < renewals[1]


def test_who_loses_a_lease_is_told_once(journal: Journal) -> None:
    new = NewRun(name="run", kind="pauli", spec_json="{}", problem_sha256="", versions_json="{}")
    lease = journal.acquire(journal.create_run(new), lease_s=0.2)
    told, lost = [], threading.Event()

    def tell() -> None:
        told.append(lease.run_id)
        lost.set()

    lease.finish(state="interrupted", reason="test", result_json=None)
    journal.acquire(lease.run_id)
    with renewing(lease, lost=tell):
        assert lost.wait(60)
        time.sleep(5 * lease.lease_s)
    assert told == [lease.run_id]


def lease_end(journal: Journal, run_id: str) -> int:
    return journal.run(run_id).lease_until_us
