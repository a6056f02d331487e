"""What a person reads of a result."""

from dataclasses import replace

import pytest

from optimizers import Reason
from tasks.overbilling import Overbilling
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


def test_phases_come_in_order_and_rows_without_content_are_left_out() -> None:
    nothing, spent = {"shots": 0, "cost_usd": 0.0}, {"shots": 12_000, "cost_usd": 1.5}
    paid = replace(RESULT, spent_by_phase={"final": spent, "optimization": spent, "pilot": nothing})
    names = [name for name, _ in summary_rows(paid, "Ha")]
    assert names[names.index("cost") :][:3] == ["cost", "  optimization", "  final"]
    assert "  pilot" not in names
    free = dict(summary_rows(replace(RESULT, shots=0, cost_usd=0.0, evaluations=0), "Ha"))
    assert not free.keys() & {"shots", "cost", "energy evaluations"}


def test_bills_above_the_quotes_are_warned_of_and_named_where_they_are_disputed() -> None:
    charged = dict(summary_rows(replace(RESULT, overbilling=Overbilling(0.0003)), "Ha"))
    assert charged["  warning"] == "billed $0.0003 above the quotes"
    billed = Overbilling(4.5, 3.25, "lab/p/run", disputes_took_room=True)
    spent = replace(RESULT, reason=Reason.BUDGET_REACHED, energy=None, overbilling=billed)
    assert RunResult.from_json(spent.to_json()) == spent
    told = dict(summary_rows(spent, "Ha"))
    ask = "`shotwise budget disputes lab/p/run`"
    assert told["  warning"] == f"billed $4.50 above the quotes; $3.25 is disputed and takes its room: {ask}"
    assert ask in told["  what next"]
    assert told["energy"] == "not measured: disputed bills took the room that was kept for it"
    other = dict(summary_rows(replace(spent, reason=Reason.ITERATION_LIMIT), "Ha"))
    assert other["  what next"] == Reason.ITERATION_LIMIT.advice


@pytest.mark.parametrize(("bias", "warned"), [(None, False), (0.0019, False), (0.0123, True)])
def test_a_bias_beyond_the_error_bar_is_warned_of(bias: float | None, warned: bool) -> None:
    told = dict(summary_rows(replace(RESULT, predicted_bias=bias), "Ha"))
    assert told.get("  warning", "").startswith("the predicted bias is larger than the error bar") is warned


def test_a_device_without_a_calibration_is_warned_of() -> None:
    told = dict(summary_rows(replace(RESULT, predicted_bias=0.0001, uncalibrated=["sim-manila"]), "Ha"))
    assert told["  warning"].startswith("no calibration of sim-manila was to be had")
    assert told["  beside the interval"] == "a bias that nobody can predict, of up to about 1.0e-04 Ha"


def test_a_recursion_says_which_number_is_its_answer() -> None:
    cut = replace(RESULT, cut_value=7.5, best_cut_value=8.0, best_value=-8.0, bitstring="0101")
    told = dict(summary_rows(cut, "", recursive=True))
    assert (told["cut of the recursion"], told["best cut found (the answer)"]) == ("7.5", "8")
    assert "energy of the recursion" in told
    value = dict(summary_rows(replace(cut, best_cut_value=None), "", recursive=True))
    assert value["best value found (the answer)"] == "-8"


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
