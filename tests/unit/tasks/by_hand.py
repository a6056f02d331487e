"""A run in a journal that a test drives by hand, and devices that misbehave under it."""

from contextlib import nullcontext
from dataclasses import replace

import jax
import numpy as np
import pytest

from backends.catalog.local_provider import LocalProvider
from backends.provider import ResultMissing, SubmitRejected
from ledger import (
    Amount,
    Journal,
    Lease,
    Ledger,
    NewRun,
    jobs_of,
)
from measurement.mitigation import ReadoutErrors
from shotwise.spec import validate
from tasks.attempt import Attempt
from tasks.driving import StopAsked, restore_or_initialize
from tasks.evaluate import BatchResult, plan_iteration
from tasks.prepare import prepare
from tasks.prepared import Prepared
from tasks.purchase import open_buyer, purchase
from tasks.result import final_plan
from tasks.retries import RetryPolicy
from tasks.routing import routing_request

jax.config.update("jax_enable_x64", True)
H2 = {"kind": "molecule", "geometry": "H 0 0 0; H 0 0 0.7414"}
MANILA, NAIROBI = "sim-manila", "sim-nairobi"
QUICK = RetryPolicy(first_s=0.001, longest_s=0.01, unavailable_s=0.5, visible_s=0.1, stuck_s=0.1)


class Run:
    """A run in the journal, driven by hand."""

    def __init__(
        self,
        journal: Journal,
        usd: float | None = 600,
        *,
        problem: dict = H2,
        optimizer: str = "spsa",
        **execution: object,
    ) -> None:
        devices = {} if "devices" in execution else {"device": MANILA}
        shots = {} if "target_std_error" in execution else {"shots": 2000}
        self.spec = validate(
            {
                "problem": problem,
                "optimizer": {"name": optimizer},
                "execution": {"mode": "shots", **shots, **devices, **execution},
                "budget": {"usd": usd},
            }
        )
        self.journal = journal
        self.run_id = journal.create_run(
            NewRun(
                name="run",
                kind="molecule",
                spec_json=self.spec.canonical_json(),
                problem_sha256="",
                versions_json="{}",
            )
        )
        self.account = f"default/default/{self.run_id}"
        self.drive()

    def drive(self) -> None:
        """Become its driver, knowing nothing but the journal."""
        self.lease: Lease = self.journal.acquire(self.run_id)
        prepared = prepare(self.spec)
        opened = open_buyer(prepared, self.lease, hold=lambda _: nullcontext(), sleep=lambda _: None)
        assert opened is not None
        self.buyer = replace(opened, retry_policy=QUICK)
        self.prepared: Prepared
        self.prepared, self.state = restore_or_initialize(prepared, self.lease)

    def interrupt(self) -> None:
        self.lease.finish(state="interrupted", reason=None, result_json=None)

    def buy(self, *, final: bool = False) -> BatchResult:
        make = final_plan if final else plan_iteration
        plan = make(self.prepared, self.state)
        request = routing_request(self.prepared, self.buyer, self.state)
        return purchase(self.prepared, self.buyer, self.state.iteration, plan, request, final=final)

    def die_while_out(self, monkeypatch: pytest.MonkeyPatch, *, final: bool = False) -> None:
        """The process dies when its first job was just taken by the provider."""

        def die(*_: object) -> None:
            raise StopAsked

        with monkeypatch.context() as patched:
            patched.setattr(Attempt, "_await", die)
            with pytest.raises(StopAsked):
                self.buy(final=final)
        self.interrupt()

    @property
    def jobs(self) -> list:
        return jobs_of(self.journal.database, self.run_id)

    @property
    def held(self) -> Amount:
        return Ledger(self.journal.database).balance(self.account).held


def fail_fetching(monkeypatch: pytest.MonkeyPatch, device: str, *, after: int = 0) -> None:
    """A device that ends its jobs, and bills them, and has no result for any but the first `after`."""
    fetch, served = LocalProvider.fetch, []

    def without_result(self: LocalProvider, job_id: str, plan):
        if self.name != device:
            return fetch(self, job_id, plan)
        if len(served) >= after:
            raise ResultMissing("done and billed, without a result")
        served.append(job_id)
        return fetch(self, job_id, replace(plan, shots=plan.shots // 2))

    monkeypatch.setattr(LocalProvider, "fetch", without_result)


def turned_away_by(monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    submit = LocalProvider.submit

    def turns_away(self: LocalProvider, plan, token: str) -> str:
        if self.name == device:
            raise SubmitRejected("busy")
        return submit(self, plan, token)

    monkeypatch.setattr(LocalProvider, "submit", turns_away)


def reading_at_random(monkeypatch: pytest.MonkeyPatch, *calibrations: int) -> list[ReadoutErrors]:
    """Devices that answer by tossing a coin in those readout calibrations; all that are bought."""
    measured: list[ReadoutErrors] = []
    measure = ReadoutErrors.from_calibration

    def from_calibration(plan, outcome) -> ReadoutErrors:
        errors = measure(plan, outcome)
        if len(measured) in calibrations:
            errors = replace(errors, e=np.full_like(errors.e, 0.5))
        measured.append(errors)
        return errors

    monkeypatch.setattr(ReadoutErrors, "from_calibration", from_calibration)
    return measured


def left_elsewhere(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run that turned from a busy device to another one, and died while its job was out there."""
    run = Run(journal, policy="cheapest", devices=[MANILA, NAIROBI])
    with monkeypatch.context() as patched:
        turned_away_by(patched, MANILA)
        run.die_while_out(patched)
    assert [job.device for job in run.jobs if not job.state.ended] == [NAIROBI]
    return run
