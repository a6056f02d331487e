"""One suite over every provider: what a paid device must do whoever sells it.

A provider is plugged in as a `Lab`: its devices, what they should answer and cost, and how to make time pass.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pytest

from backends.jax_device import JaxDevice
from backends.provider import (
    JobGone,
    JobReport,
    JobState,
    Provider,
    ProviderUnavailable,
    SubmitRejected,
)
from backends.sandbox import SandboxProcess, SandboxProvider, usage_of
from measurement import Bases, ExecutionPlan, Outcome
from problems.circuit import Circuit, Rotation

HOUR_S = 3600.0


class Lab(ABC):
    """A provider under test.

    Attributes:
        prompt: a noiseless, deterministic device whose jobs end as soon as time passes.
        slow: a device whose jobs can be cancelled before they run.
        tokenless: a device that ignores client tokens; None where the provider has none.
    """

    prompt: Provider
    slow: Provider
    tokenless: Provider | None

    @abstractmethod
    def pass_time(self, seconds: float) -> None:
        """Let so much of the provider's time pass."""

    @abstractmethod
    def crash(self) -> None:
        """Kill the provider where it stands and bring it back."""

    @abstractmethod
    def cost_micro_usd(self, provider: Provider, plan: ExecutionPlan) -> int:
        """What the price list says the plan costs."""

    @property
    def devices(self) -> list[Provider]:
        return [device for device in (self.prompt, self.slow, self.tokenless) if device is not None]


class SandboxLab(Lab):
    def __init__(self, process: SandboxProcess) -> None:
        self._process, self._control = process, process.control()
        self.prompt = process.provider("sandbox-ideal")
        self.slow = process.provider("sandbox-slow")
        self.tokenless = process.provider("sandbox-cheap")

    def pass_time(self, seconds: float) -> None:
        self._control.advance(seconds)

    def crash(self) -> None:
        self._process.kill()
        self._process.start()

    def cost_micro_usd(self, provider: Provider, plan: ExecutionPlan) -> int:
        assert isinstance(provider, SandboxProvider)
        description = provider.description()
        return description.price.cost_micro_usd(usage_of(plan, description.queue))


@pytest.fixture(scope="module", params=["sandbox"])
def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with SandboxProcess(tmp_path_factory.mktemp(request.param)) as process:
        yield SandboxLab(process)


_numbers = itertools.count()


@pytest.fixture
def token() -> str:
    return f"conformance-{next(_numbers)}"


def make_plan(seed: int = 1) -> ExecutionPlan:
    circuit = Circuit.build(
        4,
        [Rotation(0b0011, 0, 0b0001, 0), Rotation(0b1111, 0, 0b0011, 1, 0.3), Rotation(5, 2, None, 2, 1.7)],
        initial_state=0b0011,
    )
    points = np.array([[0.1, 0.2, 0.3], [1 / 3, -2.0, np.pi]])
    bases = Bases(np.array([0, 0b0011]), np.array([0, 0b0001]))
    rows = np.array([(0, 0, 200), (1, 0, 50), (1, 1, 1000)])
    return ExecutionPlan(circuit, circuit.angles(points), bases, *rows.T, (2**70 + seed, 3))


@dataclass(frozen=True)
class Ended:
    job_id: str
    report: JobReport


def run(lab: Lab, provider: Provider, plan: ExecutionPlan, token: str) -> Ended:
    job_id = provider.submit(plan, token)
    lab.pass_time(HOUR_S)
    return Ended(job_id, provider.poll(job_id))


def assert_equal(found: Outcome, expected: Outcome) -> None:
    np.testing.assert_array_equal(found.states, expected.states)
    np.testing.assert_array_equal(found.counts, expected.counts)
    np.testing.assert_array_equal(found.offsets, expected.offsets)


def billed_micro_usd(provider: Provider, job_id: str) -> int:
    return sum(line.cost_micro_usd for line in provider.bill() if line.job_id == job_id)


def test_it_is_a_provider(lab: Lab) -> None:
    for device in lab.devices:
        assert isinstance(device, Provider)
    assert lab.prompt.honours_tokens
    assert lab.tokenless is None or not lab.tokenless.honours_tokens


def test_a_round_trip_equals_sampling_directly(lab: Lab, token: str) -> None:
    plan = make_plan()
    ended = run(lab, lab.prompt, plan, token)
    assert ended.report.state is JobState.DONE
    expected = JaxDevice().sample(plan)
    assert_equal(lab.prompt.fetch(ended.job_id, plan), expected)
    assert lab.prompt.fetch(ended.job_id, plan).to_bytes() == expected.to_bytes()


def test_every_device_measures_every_shot_and_the_same_plan_the_same(lab: Lab, token: str) -> None:
    plan = make_plan()
    for device in lab.devices:
        first, second = (run(lab, device, plan, f"{token}-{i}").job_id for i in range(2))
        assert first != second
        outcome = device.fetch(first, plan)
        shots = [int(outcome.row(row)[1].sum()) for row in range(len(plan))]
        assert shots == plan.shots.tolist()
        assert_equal(device.fetch(second, plan), outcome)


def test_another_seed_gives_other_counts(lab: Lab, token: str) -> None:
    outcomes = [
        lab.prompt.fetch(run(lab, lab.prompt, make_plan(seed), f"{token}-{seed}").job_id, make_plan(seed))
        for seed in (1, 2)
    ]
    assert outcomes[0].to_bytes() != outcomes[1].to_bytes()


def test_the_same_token_never_buys_twice_where_honoured(lab: Lab, token: str) -> None:
    plan = make_plan()
    with ThreadPoolExecutor(8) as pool:
        ids = set(pool.map(lambda _: lab.prompt.submit(plan, token), range(16)))
    lab.pass_time(HOUR_S)
    assert ids == {lab.prompt.submit(plan, token)}
    assert lab.prompt.find(token) == list(ids)
    assert billed_micro_usd(lab.prompt, ids.pop()) == lab.cost_micro_usd(lab.prompt, plan)


def test_a_token_cannot_be_used_for_another_plan(lab: Lab, token: str) -> None:
    first = lab.prompt.submit(make_plan(1), token)
    with pytest.raises(SubmitRejected) as refusal:
        lab.prompt.submit(make_plan(2), token)
    assert refusal.value.permanent
    assert lab.prompt.find(token) == [first]


def test_where_tokens_are_ignored_tags_find_every_job(lab: Lab, token: str) -> None:
    if lab.tokenless is None:
        pytest.skip("every device of this provider honours tokens")
    ids = [lab.tokenless.submit(make_plan(), token) for _ in range(2)]
    assert len(set(ids)) == 2
    assert lab.tokenless.find(token) == ids


def test_find_knows_its_own_jobs_only(lab: Lab, token: str) -> None:
    assert lab.prompt.find(token) == []
    job_id = lab.prompt.submit(make_plan(), token)
    assert lab.prompt.find(token) == [job_id]
    assert lab.slow.find(token) == []
    assert lab.prompt.find(f"{token}-other") == []


def test_a_job_waits_runs_and_ends(lab: Lab, token: str) -> None:
    job_id = lab.slow.submit(make_plan(), token)
    assert lab.slow.poll(job_id).state in (JobState.QUEUED, JobState.RUNNING)
    with pytest.raises(ProviderUnavailable):
        lab.slow.fetch(job_id, make_plan())
    lab.pass_time(HOUR_S)
    assert lab.slow.poll(job_id).state is JobState.DONE
    assert lab.slow.poll(job_id).state.ended


def test_a_waiting_job_is_cancelled_and_stays_so(lab: Lab, token: str) -> None:
    job_id = lab.slow.submit(make_plan(), token)
    assert lab.slow.cancel(job_id).state is JobState.CANCELLED
    lab.pass_time(HOUR_S)
    assert lab.slow.poll(job_id).state is JobState.CANCELLED
    assert lab.slow.cancel(job_id).state is JobState.CANCELLED
    assert billed_micro_usd(lab.slow, job_id) < lab.cost_micro_usd(lab.slow, make_plan())


def test_an_ended_job_cannot_be_cancelled(lab: Lab, token: str) -> None:
    ended = run(lab, lab.slow, make_plan(), token)
    assert lab.slow.cancel(ended.job_id).state is JobState.DONE
    assert billed_micro_usd(lab.slow, ended.job_id) == lab.cost_micro_usd(lab.slow, make_plan())


def test_the_bill_is_the_price_list_applied_once(lab: Lab, token: str) -> None:
    plan = make_plan()
    for device in lab.devices:
        ended = run(lab, device, plan, token)
        for _ in range(2):
            assert billed_micro_usd(device, ended.job_id) == lab.cost_micro_usd(device, plan)
        assert ended.report.cost_micro_usd in (None, lab.cost_micro_usd(device, plan))


def test_a_job_stopped_in_the_middle_keeps_what_it_measured(lab: Lab, token: str) -> None:
    """Its rows hold fewer shots than asked, or none, and never more."""
    plan = make_plan()
    job_id = lab.slow.submit(plan, token)
    lab.pass_time(30.5)
    cancelled = lab.slow.cancel(job_id)
    assert cancelled.state is JobState.CANCELLED
    outcome = lab.slow.fetch(job_id, plan)
    assert len(outcome) == len(plan)
    shots = np.array([outcome.row(row)[1].sum() for row in range(len(plan))])
    assert np.all(shots <= plan.shots)
    assert 0 < shots.sum() < plan.shots_total


def test_a_crash_of_the_provider_loses_and_doubles_nothing(lab: Lab, token: str) -> None:
    plan = make_plan()
    done = run(lab, lab.prompt, plan, f"{token}-done")
    before = lab.prompt.fetch(done.job_id, plan)
    waiting = lab.slow.submit(plan, f"{token}-waiting")
    bill = lab.prompt.bill()
    lab.crash()
    assert lab.prompt.bill() == bill
    assert lab.prompt.find(f"{token}-done") == [done.job_id]
    assert lab.prompt.submit(plan, f"{token}-done") == done.job_id
    assert_equal(lab.prompt.fetch(done.job_id, plan), before)
    assert lab.slow.find(f"{token}-waiting") == [waiting]
    lab.pass_time(HOUR_S)
    assert lab.slow.poll(waiting).state is JobState.DONE
    assert billed_micro_usd(lab.slow, waiting) == lab.cost_micro_usd(lab.slow, plan)


def test_a_job_that_is_not_there_is_gone(lab: Lab) -> None:
    for question in (lab.prompt.poll, lab.prompt.cancel):
        with pytest.raises(JobGone):
            question("no-such-job")
    with pytest.raises((JobGone, ProviderUnavailable)):
        lab.prompt.fetch("no-such-job", make_plan())


def test_what_cannot_run_is_refused_for_good(lab: Lab, token: str) -> None:
    wide = Circuit.build(24, [Rotation(1 << 23, 0, None, 0)])
    bases = Bases(np.array([0]), np.array([0]))
    row = np.array([0])
    plan = ExecutionPlan(wide, wide.angles(np.zeros((1, 1))), bases, row, row, np.array([10]), (1,))
    with pytest.raises(SubmitRejected) as refusal:
        lab.prompt.submit(plan, token)
    assert refusal.value.permanent
    for bad in ("", "x" * 65, "a/../b", "a b\n"):
        with pytest.raises(SubmitRejected):
            lab.prompt.submit(make_plan(), bad)
    assert lab.prompt.find(token) == []


def test_one_adapter_serves_many_threads(lab: Lab, token: str) -> None:
    plan = make_plan()
    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(lambda i: lab.prompt.submit(plan, f"{token}-{i}"), range(24)))
        lab.pass_time(1)
        outcomes = list(pool.map(lambda job_id: lab.prompt.fetch(job_id, plan).to_bytes(), ids))
    assert len(set(ids)) == 24
    assert len(set(outcomes)) == 1
