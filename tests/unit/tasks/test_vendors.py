"""Buying from the IBM and Braket adapters, each before its vendor's API emulated over HTTP."""

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from functools import partial

import numpy as np
import pytest
from sqlalchemy import update

pytest.importorskip("qiskit_ibm_runtime")
pytest.importorskip("braket.aws")

from backends.braket.account import open_session
from backends.braket.cloud_provider import BraketCloudProvider
from backends.catalog import DeviceDescription, load_catalog
from backends.fleet import Fleet
from backends.ibm.account import IbmAccount
from backends.ibm.cloud_provider import IbmCloudProvider
from backends.provider import JobGone, Provider
from ledger import (
    Amount,
    BudgetExceededError,
    JobBook,
    JobPhase,
    Journal,
    Ledger,
    NewRun,
    claim_submission,
    jobs_of,
    now_us,
)
from ledger.tables import account_submissions, jobs, runs
from shotwise.errors import LeaseLostError, RunFailedError
from tasks.attempt import NothingMoreIsBoughtError
from tasks.durable import Buyer, DeviceGaveUpError
from tasks.patience import UnresolvedJobError
from tasks.reconcile import reconcile
from tasks.retries import RetryPolicy
from tests.unit.backends import braket_emulator, ibm_emulator
from tests.unit.backends.emulating import running
from tests.unit.tasks.buying import plan

QUICK = RetryPolicy(first_s=0.01, longest_s=0.05, unavailable_s=1.0, visible_s=0.05, counted_s=0.2)


@pytest.fixture
def ibm(monkeypatch: pytest.MonkeyPatch) -> Iterator[ibm_emulator.Emulator]:
    with running(ibm_emulator.Emulator()) as server:
        monkeypatch.setenv("IAM_URL", server.url)
        monkeypatch.setenv("USAGE_DATA_OPT_OUT", "True")
        yield server


@pytest.fixture
def braket(monkeypatch: pytest.MonkeyPatch) -> Iterator[braket_emulator.Emulator]:
    with running(braket_emulator.Emulator()) as server:
        monkeypatch.setenv("BRAKET_ENDPOINT", server.url)
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server.url)
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        yield server


def fez(server: ibm_emulator.Emulator, **changed: object) -> tuple[DeviceDescription, IbmCloudProvider]:
    described = load_catalog()["ibm-fez"].model_dump() | {
        "vendor_name": ibm_emulator.BACKEND,
        "n_qubits": 5,
        "submits_per_minute_max": None,
    }
    description = DeviceDescription.model_validate(described | changed)
    account = IbmAccount(ibm_emulator.KEY, ibm_emulator.CRN, api_url=server.url, timeout_s=5.0)
    return description, IbmCloudProvider(description, account)


def sv1() -> tuple[DeviceDescription, BraketCloudProvider]:
    secrets = {
        "AWS_ACCESS_KEY_ID": braket_emulator.KEY,
        "AWS_SECRET_ACCESS_KEY": braket_emulator.SECRET,
    }
    description = load_catalog()["braket-sv1"]
    session = open_session("eu-north-1", secrets.get, 5.0)
    return description, BraketCloudProvider(description, session, "amazon-braket-test")


def shop(journal: Journal, device: tuple[DeviceDescription, Provider], *, usd: float | None = None) -> Buyer:
    """What buys of one device for a new run with a budget."""
    description, provider = device
    lease = journal.acquire(journal.create_run(NewRun("vendor", "molecule", "{}", "", "{}")))
    account = f"tenant/project/{lease.run_id}"
    micro_usd = None if usd is None else int(usd * 1e6)
    Ledger(journal.database).open_limited(account, shots=None, micro_usd=micro_usd, note="")
    return Buyer(JobBook(lease, account), fleet_of(description, provider), QUICK)


def fleet_of(description: DeviceDescription, provider: Provider) -> Fleet:
    name = description.name
    return Fleet((name,), _providers={name: provider}, _descriptions={name: description})


def shop_with_a_queued_job(ibm: ibm_emulator.Emulator, journal: Journal) -> tuple[Buyer, DeviceDescription]:
    """A process died after it bought this job."""

    class Killed(BaseException):
        pass

    def die(seconds: float) -> None:
        raise Killed

    description, provider = fez(ibm)
    buyer = shop(journal, (description, provider), usd=1000)
    ibm.hold_as = "Queued"
    with pytest.raises(Killed):
        replace(buyer, sleep=die).buy(0, 0, description.name, plan())
    return buyer, description


def one_row(seed: int = 1):
    """A batch that Braket takes: one circuit."""
    whole = plan(seed)
    return type(whole)(
        whole.circuit,
        whole.angles,
        whole.bases,
        whole.point[:1],
        whole.basis[:1],
        whole.shots[:1],
        whole.seed,
    )


def never_overspent(buyer: Buyer) -> bool:
    """Within the limit, disputes included."""
    balance = Ledger(buyer.book.lease.database).balance(buyer.book.account)
    used = balance.posted.micro_usd + balance.held.micro_usd + balance.disputed.micro_usd
    assert balance.limit_micro_usd is not None
    return used <= balance.limit_micro_usd


def test_a_limit_of_run_time_is_what_is_promised(ibm: ibm_emulator.Emulator, journal: Journal) -> None:
    description, provider = fez(ibm)
    buyer = shop(journal, (description, provider), usd=1000)
    buyer.buy(0, 0, description.name, plan())
    (sent,) = ibm.jobs.values()
    (job,) = jobs_of(journal.database)
    assert job.quote_micro_usd == int(sent["cost"] * description.price.per_second_usd * 1_000_000)


@pytest.mark.parametrize("result", ["<html>Please sign in</html>", "{", '{"pub_results": 1}'])
def test_a_result_that_cannot_be_read_is_not_bought_again(
    ibm: ibm_emulator.Emulator, journal: Journal, result: str
) -> None:
    description, provider = fez(ibm)
    buyer = shop(journal, (description, provider))
    ibm.result = result
    with pytest.raises(UnresolvedJobError):
        buyer.buy(0, 0, description.name, plan())
    (job,) = jobs_of(journal.database)
    assert job.state is JobPhase.SUBMITTED
    ibm.result = None
    assert buyer.buy(0, 0, description.name, plan()).shots == 600
    assert len(ibm.jobs) == 1


@pytest.mark.parametrize("counted_in_time", [True, False])
def test_a_failed_job_whose_cost_is_still_counted_keeps_its_promise(
    ibm: ibm_emulator.Emulator, journal: Journal, counted_in_time: bool
) -> None:
    """Settled at what IBM counts, or else at all that was promised; never at nothing."""
    description, provider = fez(ibm)
    buyer = shop(journal, (description, provider), usd=1000)
    ibm.hold_as = "Failed"
    ibm.counts_in = 3 if counted_in_time else 10**6
    with pytest.raises(DeviceGaveUpError, match="failed"):
        buyer.buy(0, 0, description.name, plan())
    for job in jobs_of(journal.database):
        assert job.cost_micro_usd == (4_800_000 if counted_in_time else job.quote_micro_usd)
    ibm.counts_in = 0
    reconcile(journal.database, buyer.fleet.provider, correct=True)
    posted = Ledger(journal.database).balance(buyer.book.account).posted.micro_usd
    assert posted == 4_800_000 * len(ibm.jobs)


def test_a_driver_that_slept_while_it_waited_for_its_turn_buys_nothing(
    ibm: ibm_emulator.Emulator, journal: Journal
) -> None:
    limited, provider = fez(ibm, submits_per_minute_max=5.0)
    sleeper = shop(journal, (limited, provider))
    run_id = sleeper.book.lease.run_id
    for _ in range(5):  # others of the team had this minute's turns
        claim_submission(journal.database, limited.provider, 5.0, now_us())
    bought = []

    def sleep_past_the_lease(seconds: float) -> None:
        if bought:
            return
        with journal.database.write() as connection:
            connection.execute(update(runs).values(lease_until_us=1))
            connection.execute(update(account_submissions).values(at_us=1))
        second = JobBook(journal.acquire(run_id), sleeper.book.account)
        unlimited = limited.model_copy(update={"submits_per_minute_max": None})
        other = Buyer(second, fleet_of(unlimited, provider), QUICK)
        bought.append(other.buy(0, 0, limited.name, plan()))

    with pytest.raises(LeaseLostError):
        Buyer(sleeper.book, sleeper.fleet, QUICK, sleep_past_the_lease).buy(0, 0, limited.name, plan())
    assert len(bought) == 1
    assert len(ibm.jobs) == 1


def test_a_job_submitted_while_the_bill_is_read_doubles_nothing(
    ibm: ibm_emulator.Emulator, journal: Journal
) -> None:
    description, provider = fez(ibm)
    buyer = shop(journal, (description, provider))
    for iteration in range(3):
        buyer.buy(iteration, 0, description.name, plan())
    ibm.between_pages = partial(provider.submit, plan(), "another")
    lines = provider.bill()
    assert ibm.between_pages is None
    assert len({line.job_id for line in lines}) == len(lines) >= 3


def test_jobs_are_billed_at_the_price_they_were_bought_at(
    ibm: ibm_emulator.Emulator, journal: Journal
) -> None:
    description, provider = fez(ibm)
    buyer = shop(journal, (description, provider), usd=1000)
    for iteration in range(2):
        buyer.buy(iteration, 0, description.name, plan())
    dearer = description.price.model_copy(update={"per_second_usd": Decimal("2.40")})
    _, later = fez(ibm, price=dearer.model_dump())
    assert reconcile(journal.database, lambda _: later, correct=True) == []


@pytest.mark.parametrize("waits", [False, True])
def test_a_job_is_settled_at_the_price_it_was_bought_at(
    ibm: ibm_emulator.Emulator, journal: Journal, waits: bool
) -> None:
    """The catalog changes while a job is queued; it then runs, or waits until it is cancelled."""
    buyer, queued = shop_with_a_queued_job(ibm, journal)
    dearer = queued.price.model_copy(update={"per_second_usd": Decimal("2.40")})
    later = replace(buyer, fleet=fleet_of(*fez(ibm, price=dearer.model_dump())))
    if waits:
        impatient = replace(later, retry_policy=replace(QUICK, stuck_s=0.0, attempts_max=1))
        with pytest.raises(DeviceGaveUpError):
            impatient.buy(0, 0, queued.name, plan())
    else:
        ibm.end_all("Completed")
        later.buy(0, 0, queued.name, plan())
    (job,) = jobs_of(journal.database)
    assert job.cost_micro_usd == 4_800_000  # 3 s at 1.60


def test_what_an_older_version_bought_is_not_settled_again_at_todays_price(
    ibm: ibm_emulator.Emulator, journal: Journal
) -> None:
    """It entered no prices, and IBM tells seconds."""
    description, provider = fez(ibm)
    buyer = shop(journal, (description, provider), usd=1000)
    buyer.buy(0, 0, description.name, plan())
    with journal.database.write() as connection:
        connection.execute(update(jobs).values(price_json=None))
    cheaper = description.price.model_copy(update={"per_second_usd": Decimal("0.80")})
    _, later = fez(ibm, price=cheaper.model_dump())
    assert reconcile(journal.database, lambda _: later, correct=True) == []
    assert Ledger(journal.database).balance(buyer.book.account).posted.micro_usd == 4_800_000


@pytest.mark.parametrize(("ended", "shots"), [("Completed", 600), ("Queued", 0)])
def test_an_abandoned_job_takes_the_shots_that_it_ran(
    ibm: ibm_emulator.Emulator, journal: Journal, ended: str, shots: int
) -> None:
    buyer, _ = shop_with_a_queued_job(ibm, journal)
    ibm.end_all(ended)
    buyer.abandon(*jobs_of(journal.database))
    posted = Ledger(journal.database).balance(buyer.book.account).posted
    assert posted == Amount(shots, 4_800_000)


def test_a_correction_is_seen_to_have_been_made(ibm: ibm_emulator.Emulator, journal: Journal) -> None:
    """The bill goes up, down and up again to the same sum."""
    description, provider = fez(ibm)
    buyer = shop(journal, (description, provider), usd=1000)
    buyer.buy(0, 0, description.name, plan())
    for seconds in (5, 3, 5, 3):
        ibm.seconds = seconds
        (found,) = reconcile(journal.database, buyer.fleet.provider, correct=True)
        assert found.corrected
        assert reconcile(journal.database, buyer.fleet.provider) == []


def ran(server: braket_emulator.Emulator, seconds: int) -> None:
    """Let what runs from here on have run so long."""
    server.run_ms = 1000 * seconds


def test_a_device_without_an_end_is_promised_what_its_jobs_have_cost(
    braket: braket_emulator.Emulator, journal: Journal
) -> None:
    """Its first job is quoted at seconds and takes an hour; the next is promised an hour."""
    description, provider = sv1()
    buyer = shop(journal, (description, provider), usd=10)
    ran(braket, 3600)
    for iteration in range(2):
        buyer.buy(iteration, 0, description.name, one_row())
    with pytest.raises(BudgetExceededError):
        buyer.buy(2, 0, description.name, one_row())
    assert len(braket.tasks) == 2
    assert never_overspent(buyer)


def test_a_dispute_takes_its_room_until_it_ends(braket: braket_emulator.Emulator, journal: Journal) -> None:
    description, provider = sv1()
    buyer = shop(journal, (description, provider), usd=1)
    ran(braket, 3600)
    buyer.buy(0, 0, description.name, one_row())  # $4.50: nobody here could refuse it
    ran(braket, 1)
    ledger = Ledger(journal.database)
    assert ledger.balance(buyer.book.account).disputed.micro_usd > 0
    with pytest.raises(BudgetExceededError):
        buyer.buy(1, 0, description.name, one_row())
    assert len(braket.tasks) == 1
    (dispute,) = ledger.open_disputes(buyer.book.account)
    assert dispute.token is not None
    assert dispute.step is not None
    ledger.resolve(dispute.token, dispute.step, accept=False)
    ledger.set_limit(buyer.book.account, micro_usd=20_000_000)
    buyer.buy(1, 0, description.name, one_row())


def test_an_old_result_that_is_gone_stops_nothing(braket: braket_emulator.Emulator, journal: Journal) -> None:
    description, provider = sv1()
    buyer = shop(journal, (description, provider))
    buyer.buy(0, 0, description.name, one_row())
    braket.results.clear()  # the bucket keeps nothing for long
    assert buyer.buy(1, 0, description.name, one_row()).shots == 300
    assert len(provider.bill()) == 1


def test_completed_without_a_result_is_said_twice_before_it_is_believed(
    braket: braket_emulator.Emulator, journal: Journal
) -> None:
    description, provider = sv1()
    buyer = shop(journal, (description, provider), usd=100)
    braket.forgets_results = 1
    bought = buyer.buy(0, 0, description.name, one_row())
    assert bought.shots == 300
    void, done = jobs_of(journal.database)
    assert (void.state, done.state) == (JobPhase.FAILED, JobPhase.DONE)
    assert void.cost_micro_usd == void.quote_micro_usd  # its run time cannot be told any more


def test_a_job_is_not_read_as_another_batch(ibm: ibm_emulator.Emulator, journal: Journal) -> None:
    """A catalog whose limits changed cuts batches otherwise: what was bought is refused, not misread."""
    description, provider = fez(ibm)
    buyer = shop(journal, (description, provider))
    buyer.buy(0, 0, description.name, plan())
    cut = plan()
    other = type(cut)(cut.circuit, cut.angles, cut.bases, cut.point, np.array([1, 0]), cut.shots, cut.seed)
    with pytest.raises(RunFailedError, match="other circuits or shots"):
        buyer.buy(0, 0, description.name, other)
    with pytest.raises(NothingMoreIsBoughtError):  # a cancellation goes on to end what is out
        replace(buyer, closing=True).buy(0, 0, description.name, other)
    assert len(ibm.jobs) == 1


def test_a_job_that_is_gone_at_its_vendor_is_taken_as_spent_where_the_run_ends(
    ibm: ibm_emulator.Emulator, journal: Journal
) -> None:
    buyer, description = shop_with_a_queued_job(ibm, journal)
    ibm.jobs.clear()
    with pytest.raises(UnresolvedJobError, match="shotwise cancel"):
        buyer.buy(0, 0, description.name, plan())
    ledger, account = Ledger(journal.database), buyer.book.account
    held = ledger.balance(account).held
    assert held.micro_usd > 0
    (job,) = jobs_of(journal.database)
    buyer.abandon(job)
    assert ledger.balance(account).held == Amount()
    assert ledger.balance(account).posted == held, (
        "it may have run; reconciling gives back what was not billed"
    )


def test_a_braket_task_that_is_gone_is_told_from_no_answer(braket: braket_emulator.Emulator) -> None:
    _, provider = sv1()
    job_id = provider.submit(one_row(), "token")
    braket.tasks.clear()
    for question in (provider.poll, provider.cancel):
        with pytest.raises(JobGone):
            question(job_id)
