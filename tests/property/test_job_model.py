"""Bought jobs against a provider that remembers everything, with crashes between any two steps.

A rule draws a script of accidents, each for a step: the first of them that fits comes at that step. Steps are
the provider's calls and the journal's transactions, so that a crash, a lost reply or a second driver can come
between any two of them. Whatever happens, each token is bought at most once, ended jobs cost the same in
journal, ledger and bill, what is open is held, and no limit is exceeded.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum, auto
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from sqlalchemy import update

from backends.catalog import DeviceDescription, QueueModel, usage_of
from backends.catalog.catalog_provider import DeviceStatus
from backends.fleet import Fleet
from backends.prices import Price, Usage
from backends.provider import (
    BillLine,
    JobReport,
    JobState,
    ProviderUnavailable,
    ResultMissing,
    SubmitRejected,
    SubmitUnknown,
)
from ledger import (
    Amount,
    BudgetExceededError,
    Currency,
    Database,
    JobBook,
    JobPhase,
    Journal,
    Ledger,
    NewRun,
    Reservation,
    ReservationState,
    jobs_of,
    rules,
)
from ledger.tables import runs
from measurement import Bases, ExecutionPlan, Outcome
from problems import Circuit, Rotation
from shotwise.errors import LeaseLostError
from tasks.durable import Buyer, DeviceGaveUpError, PurchaseResult
from tasks.patience import UnresolvedJobError
from tasks.reconcile import reconcile
from tasks.retries import RetryPolicy

STEPS = 1_000
EXAMPLES = 60
STEPS_AN_EXAMPLE = 25
SHOTS = 3
READ = {"date": "2026-01-01", "source": "this file"}
HONEST, FORGETFUL = "honours-tokens", "ignores-tokens"
AT_ONCE = RetryPolicy(first_s=0, longest_s=0, attempts_max=4, unavailable_s=0, visible_s=0)


class Accident(Enum):
    """What happens at one step."""

    CRASH_BEFORE = auto()
    CRASH_AFTER = auto()
    REFUSED = auto()
    LOST_BEFORE = auto()
    LOST_AFTER = auto()
    QUEUED = auto()
    PARTIAL = auto()
    FAILED = auto()
    NO_RESULT = auto()
    TAKEN_OVER = auto()


ANYWHERE = (Accident.CRASH_BEFORE, Accident.CRASH_AFTER, Accident.TAKEN_OVER)
FATES = (Accident.QUEUED, Accident.PARTIAL, Accident.FAILED, Accident.NO_RESULT)
ACCIDENTS = {
    "intend": ANYWHERE,
    "submit": (*ANYWHERE, Accident.REFUSED, Accident.LOST_BEFORE, Accident.LOST_AFTER, *FATES),
    "submitted": ANYWHERE,
    "unknown": ANYWHERE,
    "find": (*ANYWHERE, Accident.LOST_BEFORE),
    "poll": (*ANYWHERE, Accident.LOST_BEFORE),
    "fetch": (*ANYWHERE, Accident.LOST_BEFORE),
    "done": ANYWHERE,
    "ended": ANYWHERE,
}
Aimed = tuple[str, Accident]


class Crash(BaseException):
    """The process dies here: nothing may catch it."""


@dataclass
class World:
    """What outlives every process: the script of accidents, and everything that every provider sold."""

    script: list[Aimed] = field(default_factory=list)
    takeover: Callable[[], None] = lambda: None
    happened: set[Aimed] = field(default_factory=set)

    def _due(self, name: str, takeover: bool) -> Accident | None:
        for at, (step, accident) in enumerate(self.script):
            if step == name and (takeover or accident is not Accident.TAKEN_OVER):
                self.happened.add(self.script.pop(at))
                return accident
        return None

    def step(self, name: str, do: Callable[[], object], *, takeover: bool = True):
        """One step: what it brings, or the accident that changes what it brings."""
        accident = self._due(name, takeover)
        if accident is Accident.CRASH_BEFORE:
            raise Crash
        result = do() if accident is None or accident in ANYWHERE else accident
        if accident is Accident.CRASH_AFTER:
            raise Crash
        if accident is Accident.TAKEN_OVER:
            self.takeover()
        return result


@dataclass
class Sold:
    token: str
    plan: ExecutionPlan
    state: JobState
    shots: np.ndarray
    cost_micro_usd: int
    has_result: bool = True
    polls_left: int = 0


class Shop:
    """A provider that keeps what it sold for ever and bills what it ran."""

    def __init__(self, name: str, world: World) -> None:
        self.name, self.world, self.honours_tokens = name, world, name == HONEST
        self.sold: dict[str, Sold] = {}
        self.description = DeviceDescription(
            name=name,
            provider="sandbox",
            description="a shop",
            n_qubits=2,
            shots_max=100,
            circuits_max=100,
            price=Price(per_task_usd=Decimal("0.30"), per_shot_usd=Decimal("0.01"), **READ),
            queue=QueueModel(median_s=1, **READ),
            enabled=True,
        )

    def status(self) -> DeviceStatus:
        return DeviceStatus(online=True)

    def calibration(self, now_us: int) -> None:
        return None

    def hardware_use(self, plan: ExecutionPlan) -> None:
        return None

    def usage(self, plan: ExecutionPlan, use: object) -> Usage:
        return usage_of(plan, self.description)

    def close(self) -> None:
        pass

    def submit(self, plan: ExecutionPlan, token: str) -> str:
        came = self.world.step("submit", lambda: self._sell(plan, token))
        match came:
            case Accident.REFUSED:
                raise SubmitRejected("not now")
            case Accident.LOST_BEFORE:
                raise SubmitUnknown("no answer")
            case Accident.LOST_AFTER:
                self._sell(plan, token)
                raise SubmitUnknown("no answer")
            case Accident():
                return self._sell(plan, token, came)
        return came

    def _sell(self, plan: ExecutionPlan, token: str, fate: Accident | None = None) -> str:
        known = self.ids(token)
        if known and self.honours_tokens:
            return known[0]
        shots = plan.shots.copy()
        if fate is Accident.PARTIAL:
            shots[0] -= 1
        if fate is Accident.FAILED:
            shots[:] = 0
        ran = plan if fate is not Accident.FAILED else None
        cost = 0 if ran is None else self.description.price.cost_micro_usd(usage_of(plan, self.description))
        job_id = f"{self.name}-{len(self.sold)}"
        self.sold[job_id] = Sold(
            token,
            plan,
            JobState.FAILED if fate is Accident.FAILED else JobState.DONE,
            shots,
            cost,
            has_result=fate is not Accident.NO_RESULT,
            polls_left=2 if fate is Accident.QUEUED else 0,
        )
        return job_id

    def ids(self, token: str) -> list[str]:
        return [job_id for job_id, job in self.sold.items() if job.token == token]

    def find(self, token: str) -> list[str]:
        return self._asked("find", lambda: self.ids(token))

    def poll(self, job_id: str, price: Price | None = None) -> JobReport:
        job = self.sold[job_id]
        job.polls_left -= 1
        state = JobState.QUEUED if job.polls_left >= 0 else job.state
        cost = job.cost_micro_usd if state.ended else None
        return self._asked("poll", lambda: JobReport(job_id, state, cost))

    def fetch(self, job_id: str, plan: ExecutionPlan) -> Outcome:
        job = self.sold[job_id]

        def answer() -> Outcome:
            if not job.has_result:
                raise ResultMissing("nothing there")
            return Outcome.from_rows(
                [
                    (np.array([row] if shots else []), np.array([shots] if shots else []))
                    for row, shots in enumerate(job.shots)
                ]
            )

        return self._asked("fetch", answer)

    def cancel(self, job_id: str) -> JobReport:
        return self.poll(job_id)

    def bill(self, prices: object = None) -> list[BillLine]:
        return [BillLine(job_id, job.token, job.cost_micro_usd) for job_id, job in self.sold.items()]

    def _asked(self, name: str, answer: Callable[[], object]):
        came = self.world.step(name, answer)
        if isinstance(came, Accident):
            raise ProviderUnavailable("no answer")
        return came


class CrashingBook(JobBook):
    """A journal whose process may die before or after any transaction."""

    world: World

    def intend(self, *args, **named) -> None:
        # where tokens are ignored, nothing keeps a driver that slept here from submitting late: see ADR 9
        honest = named["device"] == HONEST
        self.world.step("intend", lambda: super(CrashingBook, self).intend(*args, **named), takeover=honest)

    def mark_submitted(self, *args) -> None:
        self.world.step("submitted", lambda: super(CrashingBook, self).mark_submitted(*args))

    def mark_unknown(self, *args) -> None:
        self.world.step("unknown", lambda: super(CrashingBook, self).mark_unknown(*args))

    def mark_done(self, *args) -> Reservation:
        return self.world.step("done", lambda: super(CrashingBook, self).mark_done(*args))

    def mark_ended(self, *args) -> None:
        self.world.step("ended", lambda: super(CrashingBook, self).mark_ended(*args))


def plan(seed: int) -> ExecutionPlan:
    circuit = Circuit.build(2, [Rotation(0b11, 0, 0b01, 0)], initial_state=0b01)
    zeros, rows = np.zeros(2, dtype=np.int64), np.arange(2)
    angles = circuit.angles(np.array([[0.7]]))
    bases = Bases(np.array([0, 3]), zeros)
    return ExecutionPlan(circuit, angles, bases, zeros, rows, np.full(2, SHOTS), (seed,))


aimed = [(step, accident) for step, accidents in ACCIDENTS.items() for accident in accidents]
scripts = st.lists(st.sampled_from(aimed), min_size=2, max_size=12)
pieces = st.integers(0, 5)


class JobModel(RuleBasedStateMachine):
    template: Path
    steps = 0
    happened: set[Aimed] = set()  # noqa: RUF012 - gathered over all examples

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
        shutil.copy(self.template, self.folder / "journal.db")
        self.database = Database(f"sqlite:///{self.folder / 'journal.db'}")
        self.journal, self.ledger = Journal(self.database), Ledger(self.database)
        (self.run,) = self.journal.all_runs()
        self.account = f"tenant/project/{self.run.run_id}"
        self.ledger.open_account(self.account)
        self.world = World()
        self.shops = {name: Shop(name, self.world) for name in (HONEST, FORGETFUL)}
        self.buyer = self.take_over()
        self.stale: Buyer | None = None
        self.outcomes: dict[int, bytes] = {}

    def teardown(self) -> None:
        self.world.script = []
        self.ledger.set_limit("tenant", micro_usd=None)
        buyer = self.take_over()
        for piece in sorted({job.iteration for job in jobs_of(self.database)}):
            with suppress(DeviceGaveUpError):
                self.bring(buyer, piece, HONEST)
        assert all(job.state.ended for job in jobs_of(self.database))
        assert reconcile(self.database, self.shops.__getitem__) == []  # pyright: ignore[reportArgumentType]
        billed = sum(line.cost_micro_usd for shop in self.shops.values() for line in shop.bill())
        balance = self.ledger.balance("tenant")
        assert (balance.posted.micro_usd, balance.held) == (billed, Amount())
        JobModel.happened |= self.world.happened
        self.database.close()
        shutil.rmtree(self.folder)

    def take_over(self) -> Buyer:
        """The next process: the lease of the one before is over, and nothing is known but the journal."""
        with self.database.write() as connection:
            connection.execute(update(runs).values(lease_until_us=1))
        book = CrashingBook(self.journal.acquire(self.run.run_id), self.account)
        book.world = self.world
        descriptions = {name: shop.description for name, shop in self.shops.items()}
        fleet = Fleet((HONEST, FORGETFUL), _providers=dict(self.shops), _descriptions=descriptions)
        return Buyer(book, fleet, AT_ONCE, sleep=lambda _: None)

    def bring(self, buyer: Buyer, piece: int, device: str) -> PurchaseResult:
        bought = buyer.buy(piece, 0, device, plan(piece))
        assert bought.outcome.shots.tolist() == [SHOTS, SHOTS]
        data = bought.outcome.to_bytes()
        assert self.outcomes.setdefault(piece, data) == data
        return bought

    @initialize(micro_usd=st.integers(1, 6))
    def limit_the_tenant(self, micro_usd: int) -> None:
        self.ledger.set_limit("tenant", micro_usd=micro_usd * 400_000)

    @rule()
    def raise_the_limit(self) -> None:
        limit = self.ledger.balance("tenant").limit_micro_usd or 0
        self.ledger.set_limit("tenant", micro_usd=limit + 400_000)

    @rule(piece=pieces, device=st.sampled_from([HONEST, FORGETFUL]), script=scripts)
    def buy(self, piece: int, device: str, script: list[Aimed]) -> None:
        self.world.script = list(script)
        self.world.takeover = lambda: self.second_driver(piece, device)
        driver = self.buyer
        try:
            self.bring(driver, piece, device)
        except Crash:
            self.buyer = self.take_over()
        except LeaseLostError:
            assert driver is not self.buyer, "refused though nobody took over"
        except (BudgetExceededError, DeviceGaveUpError, UnresolvedJobError):
            pass

    def second_driver(self, piece: int, device: str) -> None:
        """Another process takes the run over in the midst of a step of ours, and may end what we began."""
        script, self.world.script = self.world.script, []
        self.stale, self.buyer = self.buyer, self.take_over()
        with suppress(BudgetExceededError, DeviceGaveUpError, UnresolvedJobError):
            self.bring(self.buyer, piece, device)
        self.world.script = script

    @rule(piece=pieces, device=st.sampled_from([HONEST, FORGETFUL]))
    def a_stale_driver_wakes(self, piece: int, device: str) -> None:
        """One that was stopped long ago: it may read, and changes nothing, here or at any provider."""
        if self.stale is None:
            return
        before = (jobs_of(self.database), {name: len(shop.sold) for name, shop in self.shops.items()})
        self.world.script = []
        with suppress(LeaseLostError, BudgetExceededError, DeviceGaveUpError):
            self.bring(self.stale, piece, device)
        assert (jobs_of(self.database), {name: len(shop.sold) for name, shop in self.shops.items()}) == before

    @invariant()
    def the_books_agree(self) -> None:
        JobModel.steps += 1
        tokens = [job.token for shop in self.shops.values() for job in shop.sold.values()]
        assert len(tokens) == len(set(tokens)), "a token was bought twice"
        cost = {job.token: job.cost_micro_usd for shop in self.shops.values() for job in shop.sold.values()}
        jobs = jobs_of(self.database)
        assert set(tokens) <= {job.token for job in jobs}, "bought without an intent"
        stories = defaultdict(list)
        for entry in reversed(self.ledger.entries("tenant", limit=10_000)):
            stories[entry.token].append(entry)
        for job in jobs:
            reservation = rules.reservation(stories[job.token])
            assert reservation is not None, "a job without a reservation"
            if not job.state.ended:
                assert reservation.state is ReservationState.HELD
                continue
            assert reservation.state is not ReservationState.HELD
            spent = reservation.spent + reservation.disputed
            assert spent.micro_usd == job.cost_micro_usd == cost.get(job.token, 0)
            assert job.state is not JobPhase.DONE or job.token in cost
        for balance in self.ledger.balances():
            limit = balance.limit_micro_usd
            assert limit is None or balance.used(Currency.MICRO_USD) <= limit


@pytest.fixture
def model(tmp_path: Path) -> type[JobModel]:
    """The model on copies of a journal with one run."""
    database = Database(f"sqlite:///{tmp_path / 'template.db'}")
    Journal(database).create_run(NewRun("run", "pauli", "{}", "", "{}"))
    with database.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    JobModel.template, JobModel.steps = tmp_path / "template.db", 0
    JobModel.happened.clear()
    return JobModel


def test_each_accident_at_each_step_leaves_the_books_in_order(model: type[JobModel]) -> None:
    leads_to = {
        "unknown": ("submit", Accident.LOST_BEFORE),
        "find": ("submit", Accident.LOST_BEFORE),
        "ended": ("submit", Accident.FAILED),
    }
    for step, accident in aimed:
        before = [leads_to[step]] if step in leads_to else []
        for device in (HONEST, FORGETFUL):
            world = model()
            world.limit_the_tenant(6)
            world.buy(0, device, [*before, (step, accident)])
            world.the_books_agree()
            world.a_stale_driver_wakes(0, device)
            world.the_books_agree()
            world.teardown()
    assert sorted(set(aimed) - model.happened, key=str) == [], "an accident never came"


def test_a_thousand_steps_of_jobs_agree_with_the_provider(model: type[JobModel]) -> None:
    run_state_machine_as_test(
        model,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS_AN_EXAMPLE,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.generate, Phase.shrink],
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
    assert model.steps >= STEPS
