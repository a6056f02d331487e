"""A cancelled run: what is in flight is settled, the rest released, and nothing more is bought."""

from collections.abc import Iterator
from contextlib import nullcontext
from decimal import Decimal
from pathlib import Path

import pytest
from pydantic import SecretStr

from backends.fleet import SANDBOX_URL
from backends.sandbox.connection import KEY_VARIABLE
from backends.sandbox.process import SandboxProcess
from ledger import JobPhase, Journal, Ledger, NewRun, jobs_of
from shotwise.errors import CannotRunError
from shotwise.spec import RunSpec, validate
from tasks.cancelling import cancel
from tasks.driving import StopAsked, driving
from tasks.evaluate import plan_iteration
from tasks.prepare import prepare
from tasks.prepared import Prepared
from tasks.purchase import open_buyer, purchase
from tasks.reconcile import reconcile
from tasks.routing import routing_request
from tasks.state import initial
from tests.databases import new_journal

DEVICES = ("sandbox-noisy", "sandbox-cheap")
KEY = SecretStr("test-key-of-the-cancelling-suite")


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    """Its queues take an hour: whatever is bought stays in flight until it is cancelled."""
    with SandboxProcess(tmp_path_factory.mktemp("sandbox"), queue_scale=Decimal(1000), key=KEY) as process:
        yield process


@pytest.fixture
def journal(tmp_path: Path, sandbox: SandboxProcess, monkeypatch: pytest.MonkeyPatch) -> Iterator[Journal]:
    monkeypatch.setenv(KEY_VARIABLE, KEY.get_secret_value())
    monkeypatch.setenv(SANDBOX_URL, sandbox.url)
    monkeypatch.setenv("SHOTWISE_HOME", str(tmp_path))
    database = new_journal(tmp_path / "journal.db")
    yield Journal(database)
    database.close()
    for device in DEVICES:
        fleet = prepare(spec_on(device)).fleet
        assert fleet is not None
        fleet.close()


def spec_on(device: str) -> RunSpec:
    return validate(
        {
            "problem": {"kind": "molecule", "geometry": "H 0 0 0; H 0 0 0.7414"},
            "execution": {"mode": "shots", "shots": 100, "device": device},
            "budget": {"usd": 1000},
        }
    )


def enter(journal: Journal, spec: RunSpec) -> str:
    text = spec.canonical_json()
    return journal.create_run(
        NewRun(name="run", kind="molecule", spec_json=text, problem_sha256="", versions_json="{}")
    )


def leave_a_job_in_flight(journal: Journal, prepared: Prepared, run_id: str) -> None:
    """Drive until the first wait, and be asked to stop in it."""
    lease = journal.acquire(run_id)
    with driving(lease, 0) as drive:
        drive.stop.set()
        buyer = open_buyer(prepared, lease, hold=lambda _: nullcontext(), sleep=drive.sleep)
        assert buyer is not None
        state = initial(prepared)
        request = routing_request(prepared, buyer, state)
        with pytest.raises(StopAsked):
            purchase(prepared, buyer, 0, plan_iteration(prepared, state), request, final=False)
    lease.finish(state="interrupted", reason=None, result_json=None)


@pytest.mark.parametrize("device", DEVICES)
def test_a_run_that_nobody_drives_is_settled_and_ended(journal: Journal, device: str) -> None:
    spec = spec_on(device)
    prepared, run_id = prepare(spec), enter(journal, spec)
    leave_a_job_in_flight(journal, prepared, run_id)
    (job,) = jobs_of(journal.database, run_id)
    ledger, account = Ledger(journal.database), f"default/default/{run_id}"
    assert job.state is JobPhase.SUBMITTED
    assert ledger.balance(account).held.micro_usd > 0

    assert cancel(journal, run_id) == "cancelled"

    (job,) = jobs_of(journal.database, run_id)
    assert job.state is JobPhase.CANCELLED
    balance = ledger.balance(account)
    assert (balance.held.micro_usd, balance.held.shots) == (0, 0)
    assert balance.posted.micro_usd == job.cost_micro_usd
    assert prepared.fleet is not None
    assert reconcile(journal.database, prepared.fleet.provider) == []
    assert cancel(journal, run_id) == "cancelled", "asking again changes nothing"


def test_a_run_that_was_never_driven_ends_at_once(journal: Journal) -> None:
    run_id = enter(journal, spec_on("sandbox-noisy"))
    assert cancel(journal, run_id) == "cancelled"
    assert journal.run(run_id).holder is None


def test_a_driver_hears_of_it(journal: Journal) -> None:
    run_id = enter(journal, spec_on("sandbox-noisy"))
    lease = journal.acquire(run_id, lease_s=1.0)
    from ledger import Submissions

    with driving(lease, 0) as drive:
        assert not drive.stop.is_set()
        Submissions(journal.database).ask_to_cancel(run_id)
        assert drive.stop.wait(30)
        assert drive.cancelled.is_set()


def test_what_has_ended_cannot_be_cancelled(journal: Journal) -> None:
    run_id = enter(journal, spec_on("sandbox-noisy"))
    journal.acquire(run_id).finish(state="completed", reason=None, result_json=None)
    with pytest.raises(CannotRunError, match="has completed"):
        cancel(journal, run_id)
