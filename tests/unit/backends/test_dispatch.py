"""Selection is pure: what is refused, how each policy ranks, what is said about the losers."""

import dataclasses
import json
import math
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from backends.calibration import Calibration
from backends.dispatch import POLICIES, Candidate, RoutingRequest, ScoredCandidate, select
from backends.prediction import success_untranspiled
from problems import Circuit, Rotation
from shotwise.errors import CannotRunError, UnreachableError

CHEAP = Candidate(
    "cheap",
    cost_micro_usd=100,
    cost_micro_usd_max=120,
    precise_micro_usd=400,
    wait_s=50,
    success=0.5,
    bias=0.2,
    std_error=0.1,
)
GOOD = Candidate(
    "good",
    cost_micro_usd=900,
    cost_micro_usd_max=990,
    precise_micro_usd=1100,
    wait_s=500,
    success=0.9,
    bias=0.01,
    std_error=0.1,
)
QUICK = Candidate(
    "quick",
    cost_micro_usd=600,
    cost_micro_usd_max=600,
    precise_micro_usd=1600,
    wait_s=1,
    success=0.6,
    bias=0.1,
    std_error=0.1,
)
FLEET = [CHEAP, GOOD, QUICK]
WAITS = {"idle": 0, "short": 20, "long": 300}


@pytest.mark.parametrize(
    ("policy", "winner"),
    [
        ("cheapest", "cheap"),
        ("fastest", "quick"),
        ("least_busy", "quick"),
        ("best_fidelity", "good"),
        ("balanced", "cheap"),
        ("single:good", "good"),
    ],
)
def test_each_policy_has_its_winner(policy: str, winner: str) -> None:
    waiting = [dataclasses.replace(c, waiting_jobs=at) for c, at in zip(FLEET, (5, 9, 1), strict=True)]
    assert select(waiting, RoutingRequest(), policy).devices == (winner,)


def test_balanced_steps_where_the_precision_asked_for_costs_least() -> None:
    assert select(FLEET, RoutingRequest(), "balanced").devices == ("cheap",)
    dear_shots = [dataclasses.replace(CHEAP, precise_micro_usd=2000), GOOD, QUICK]
    assert select(dear_shots, RoutingRequest(), "balanced").devices == ("good",)


def test_balanced_reports_from_a_device_that_is_worth_the_whole_run() -> None:
    last = RoutingRequest(progress=1, final=True, micro_usd_spent=10_000)
    assert select(FLEET, last, "balanced").devices == ("good",)
    scores = {v.candidate.device: v.score for v in select(FLEET, last, "balanced").candidates}
    assert scores["cheap"] == pytest.approx((10_000 + 100) * (1 + 4))
    assert scores["good"] == pytest.approx((10_000 + 900) * (1 + 0.01))


def test_balanced_reports_cheaply_where_the_run_itself_cost_nothing_and_biases_are_alike() -> None:
    alike = [dataclasses.replace(c, bias=0.01) for c in FLEET]
    assert select(alike, RoutingRequest(final=True), "balanced").devices == ("cheap",)


def test_a_decision_is_recorded_with_what_it_was_asked_and_all_that_it_was_told() -> None:
    request = RoutingRequest(0.5, micro_usd_spent=7, micro_usd_left=10**9)
    decision = select([*FLEET, Candidate("broken", "no", bias=math.inf)], request, "ensemble")
    record = json.loads(decision.to_json())
    assert record["question"] == dataclasses.asdict(request)
    assert [tuple(leg) for leg in record["route"]] == list(decision.route)
    told = [ScoredCandidate(Candidate(**v["candidate"]), v["score"], v["reason"]) for v in record["verdicts"]]
    assert tuple(told) == decision.candidates


@pytest.mark.parametrize("policy", ["balanced", "best_fidelity", "ensemble", "explore_exploit"])
@pytest.mark.parametrize("final", [False, True])
def test_a_device_that_tells_no_errors_is_last_where_errors_are_weighed(policy: str, final: bool) -> None:
    mute = Candidate("mute", success=0.0, bias=0.15, std_error=0.1, uncalibrated=True)  # free, and at once
    decision = select([mute, *FLEET], RoutingRequest(progress=0.9, final=final), policy)
    last = decision.candidates[-1]
    assert (last.candidate, last.reason) == (mute, "no calibration: nothing is known of its errors")
    assert "mute" not in decision.devices
    assert select([mute], RoutingRequest(), policy).devices == ("mute",)
    assert select([mute, *FLEET], RoutingRequest(), "cheapest").devices == ("mute",)


def test_explore_exploit_turns_to_the_best_device_to_finish() -> None:
    assert select(FLEET, RoutingRequest(progress=0.1), "explore_exploit").devices == ("cheap",)
    assert select(FLEET, RoutingRequest(progress=0.9), "explore_exploit").devices == ("good",)


def test_an_ensemble_shares_by_inverse_squared_error() -> None:
    route = dict(select(FLEET, RoutingRequest(), "ensemble").route)
    assert sum(route.values()) == pytest.approx(1)
    assert route["good"] > route["quick"] > route["cheap"] > 0
    assert route["good"] / route["cheap"] == pytest.approx(CHEAP.error**2 / GOOD.error**2)


def test_the_fastest_devices_share_a_batch_and_end_together() -> None:
    slow = [Candidate(name, wait_s=wait_s, run_s=100, cost_micro_usd_max=5) for name, wait_s in WAITS.items()]
    decision = select(slow, RoutingRequest(), "fastest")
    assert decision.devices == ("idle", "short")
    ends = {name: WAITS[name] + 100 * share for name, share in decision.route}
    assert ends["idle"] == pytest.approx(ends["short"])
    assert decision.time_s == pytest.approx(ends["idle"])
    assert decision.time_s < 0.8 * 100


@pytest.mark.parametrize("routing", [RoutingRequest(micro_usd_left=7), RoutingRequest()])
def test_the_fastest_device_runs_a_batch_alone_where_sharing_is_not_worth_it(routing: RoutingRequest) -> None:
    """Because two are above the budget, or because the other waits for nearly as long as the first runs."""
    wait_s = 0 if routing.micro_usd_left else 90
    alone = Candidate("a", run_s=100, cost_micro_usd_max=5)
    pair = [alone, dataclasses.replace(alone, device="b", wait_s=wait_s)]
    assert select(pair, routing, "fastest").route == (("a", 1.0),)


def test_what_the_budget_cannot_hold_in_the_worst_case_is_refused() -> None:
    decision = select(FLEET, RoutingRequest(micro_usd_left=700), "best_fidelity")
    assert decision.devices == ("quick",)
    (lost,) = [v for v in decision.candidates if v.candidate.device == "good"]
    assert "worst case" in lost.reason
    assert lost.score is None


def test_every_loser_has_a_reason_and_refusals_come_last() -> None:
    broken = Candidate("broken", "calibration holds an error of 1")
    decision = select([broken, *FLEET], RoutingRequest(), "cheapest")
    assert len(decision.candidates) == 4
    assert decision.candidates[-1].reason == "calibration holds an error of 1"
    assert all(v.reason for v in decision.candidates)


def test_when_nothing_can_run_the_reasons_are_said() -> None:
    with pytest.raises(CannotRunError, match=r"stale.*and 1 more"):
        select([Candidate(f"d{i}", f"stale {i}") for i in range(4)], RoutingRequest(), "balanced")


@pytest.mark.parametrize(
    ("policy", "raised"), [("balanced", UnreachableError), ("single:down", CannotRunError)]
)
def test_silence_is_told_apart_from_a_refusal(policy: str, raised: type[CannotRunError]) -> None:
    with pytest.raises(raised) as found:
        select(
            [Candidate("mute", "HTTP 500", silent=True), Candidate("down", "retired")],
            RoutingRequest(),
            policy,
        )
    assert type(found.value) is raised


def test_an_ensemble_is_as_large_as_the_budget() -> None:
    fleet = [
        Candidate(f"d{i}", cost_micro_usd=10, cost_micro_usd_max=10, success=0.9, std_error=0.1 * (1 + i))
        for i in range(3)
    ]
    for left, size in ((30, 3), (29, 2), (15, 1)):
        assert len(select(fleet, RoutingRequest(micro_usd_left=left), "ensemble").route) == size


@pytest.mark.parametrize("bad", [float("nan"), -0.2, 1.5])
def test_a_value_that_is_no_probability_makes_no_device_better(bad: float) -> None:
    circuit = Circuit.build(2, [Rotation(0b11, 0, 0b01, 0)], initial_state=0b01)
    good = Calibration(0, (0.02, 0.02), (1e-3, 1e-3), (((0, 1), 0.01),))
    known = success_untranspiled(circuit, good)
    for worse in (replace(good, readout_error=(0.02, bad)), replace(good, two_qubit_error=(((0, 1), bad),))):
        assert 0.0 <= success_untranspiled(circuit, worse) < known


candidates = st.builds(
    Candidate,
    device=st.uuids().map(str),
    refusal=st.sampled_from([None, None, None, "no"]),
    cost_micro_usd=st.integers(0, 10**9),
    cost_micro_usd_max=st.integers(0, 10**9),
    wait_s=st.floats(0, 1e6),
    success=st.floats(0, 1),
    bias=st.floats(0, 10),
    std_error=st.floats(0, 1),
    waiting_jobs=st.integers(0, 10_000),
)


@given(st.lists(candidates, min_size=1, max_size=20), st.sampled_from(sorted(POLICIES)), st.floats(0, 1))
@example([replace(CHEAP, std_error=4e-155, bias=0.0)], "ensemble", 0.0)
def test_selection_never_routes_to_what_it_refused_and_ignores_order(
    fleet: list[Candidate], policy: str, progress: float
) -> None:
    request = RoutingRequest(progress, micro_usd_left=500_000_000)
    able = {c.device for c in fleet if c.refusal is None and c.cost_micro_usd_max <= 500_000_000}
    if not able:
        with pytest.raises(CannotRunError):
            select(fleet, request, policy)
        return
    decision = select(fleet, request, policy)
    assert set(decision.devices) <= able
    assert sum(share for _, share in decision.route) == pytest.approx(1)
    assert {v.candidate.device for v in decision.candidates} == {c.device for c in fleet}
    assert select(fleet[::-1], request, policy).route == decision.route
