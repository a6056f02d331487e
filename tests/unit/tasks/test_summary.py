"""What a person reads of a result."""

from dataclasses import replace

import pytest

from optimizers import Reason
from tasks.result import RunResult
from tasks.summary import summary_rows

RESULT = RunResult(
    run_id="run",
    state="completed",
    reason=Reason.ITERATION_LIMIT,
    energy=-1.137,
    energy_std_error=0.001,
    reference_energy=-1.1373,
    reference_method="FCI",
    error=0.0003,
    fidelity=0.999,
    iterations=2,
    evaluations=5,
    shots=12_345,
    cost_usd=1.5,
    parameters_sha256="f00d",
    parameters=[0.1],
    method={"optimizer": "spsa"},
)


def test_it_says_what_to_do_next_and_what_its_interval_does_not_hold() -> None:
    told = dict(summary_rows(RESULT, "Ha"))
    assert told["energy"] == "-1.13700000 Ha +- 2.0e-03 (95 %)"
    assert told["  what next"].startswith("Raise optimizer.max_iterations")
    assert "  beside the interval" not in told
    assert "  the devices disagree" not in told
    told = dict(
        summary_rows(replace(RESULT, reason="converged", predicted_bias=0.0123, disagreement=7.25), "Ha")
    )
    assert "  what next" not in told
    assert told["  beside the interval"].startswith("a bias of about 1.2e-02 Ha")
    assert "7.2 per degree of freedom" in told["  the devices disagree"]


def test_a_cut_is_told_as_a_cut_and_not_as_an_energy_of_its_sample() -> None:
    cut = replace(RESULT, cut_value=7.5, best_cut_value=8.0, best_value=-8.0, bitstring="0101")
    told = dict(summary_rows(cut, ""))
    assert (told["best cut found"], told["best bitstring"]) == ("8", "0101")
    assert "best value found" not in told
    assert dict(summary_rows(replace(cut, best_cut_value=None), ""))["best value found"] == "-8"


def test_spending_is_told_in_all_and_where() -> None:
    spent = {"shots": 12_000, "cost_usd": 1.5}
    paid = replace(RESULT, spent_by_device={"forte": spent}, calibration_shots=345)
    told = dict(summary_rows(paid, "Ha"))
    assert told["shots"] == "12,345"
    assert told["  on forte"] == "12,000 shots, $1.50"
    assert told["  of it calibrations"] == "345 shots, $0.00"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"error": -0.164, "energy_std_error": 0.0}, True),
        ({"error": -0.164}, True),
        ({"error": -0.003}, False),  # three standard errors
        ({"error": -0.164, "predicted_bias": 0.2}, False),
        ({"error": -0.164, "reference_method": "brute force"}, False),
    ],
)
def test_an_energy_below_a_molecules_ground_state_is_explained(changed: dict, said: bool) -> None:
    told = dict(summary_rows(replace(RESULT, **changed), "Ha"))
    assert ("  below it" in told) is said
