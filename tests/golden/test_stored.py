"""Rows of the journal as earlier and later versions write them are read as far as they are known."""

import json
from dataclasses import replace

import pytest

from backends.dispatch import Decision
from ledger import RunRecord, RunState
from tasks.failure import FailureReason
from tasks.result import RunResult
from tasks.run_records import Headline, headline, result_fields, row_of, spec_fields, spec_of
from tasks.scan import ScanResult, result_of

FIRST_RESULT = """{"approximation_ratio": null, "best_cut_value": null, "best_value": null, "bitstring": null,
"cost_usd": 0.0, "cut_value": null, "energy": -1.137, "energy_std_error": 0.002, "error": 0.0003,
"evaluations": 40, "fidelity": 0.99, "iterations": 20, "operators": null, "parameters": [0.5],
"parameters_sha256": "f00d", "reason": "converged", "reference_cut_value": null, "reference_energy": -1.1373,
"reference_method": "FCI", "run_id": "h2-1", "shots": 4000, "state": "completed"}"""

FIRST_POINT = """{"cost_usd": 0.25, "energy": -1.1, "energy_std_error": 0.01, "evaluations": 4,
"iterations": 3, "parameters": [0.1, 0.2], "reason": "converged", "reference_energy": -1.12,
"run_id": "s.000", "shots": 30, "value": 0.5}"""

FIRST_SCAN = f"""{{"axis": "layers", "cost_usd": 0.25, "energy": -1.1, "energy_std_error": 0.01,
"evaluations": 4, "iterations": 3, "points": [{FIRST_POINT}], "reason": "converged",
"reference_energy": -1.12, "run_id": "s", "shots": 30, "state": "completed", "value": 0.5}}"""

FIRST_DECISION = """{"policy": "balanced", "route": [["garnet", 1.0]], "verdicts": [
{"candidate": {"device": "garnet", "refusal": null, "cost_micro_usd": 300000, "cost_micro_usd_max": 301450,
"wait_s": 60.0, "run_s": 2.0, "success": 0.9, "bias": 0.03, "std_error": 0.04, "waiting_jobs": 2},
"score": 0.5, "reason": "costs $0.30"},
{"candidate": {"device": "old", "refusal": "stale", "cost_micro_usd": 0, "cost_micro_usd_max": 0,
"wait_s": 0.0, "run_s": 0.0, "success": 1.0, "bias": Infinity, "std_error": 0.0, "waiting_jobs": 0},
"score": null, "reason": "stale"}]}"""


def record(result_json: str | None, spec: object = None) -> RunRecord:
    return RunRecord(
        "h2-1", "h2", "molecule", RunState.COMPLETED, "converged", json.dumps(spec), "", "{}", 0, 0, 0,
        result_json, None, 0, None, 0, None,
    )  # fmt: skip


def of_a_later_version(text: str) -> str:
    """With a field that this version does not know, in every object."""
    return json.dumps(json.loads(text, object_hook=lambda told: {**told, "unheard_of": [1]}))


@pytest.mark.parametrize("text", [FIRST_RESULT, of_a_later_version(FIRST_RESULT)])
def test_a_result_of_another_version_is_read(text: str) -> None:
    found = result_of(record(text))
    assert isinstance(found, RunResult)
    assert (found.energy, found.parameters, found.predicted_bias, found.method) == (-1.137, [0.5], None, {})
    assert RunResult.from_json(found.to_json()) == found


@pytest.mark.parametrize("text", [FIRST_SCAN, of_a_later_version(FIRST_SCAN)])
def test_a_scan_of_another_version_is_read(text: str) -> None:
    found = result_of(record(text))
    assert isinstance(found, ScanResult)
    assert [(p.value, p.energy, p.parameters) for p in found.points] == [(0.5, -1.1, (0.1, 0.2))]
    assert ScanResult.from_json(found.to_json()) == found
    assert headline(record(text)) == Headline(-1.1, 0.01, reference_energy=-1.12)


@pytest.mark.parametrize("text", [FIRST_DECISION, of_a_later_version(FIRST_DECISION)])
def test_a_decision_of_another_version_is_read(text: str) -> None:
    decision = Decision.from_json(text)
    assert (decision.policy, decision.devices, decision.time_s) == ("balanced", ("garnet",), 62.0)
    (won,) = decision.chosen
    assert won.candidate.error == pytest.approx(0.05)
    assert (won.candidate.precise_micro_usd, decision.request.final) == (0, False)
    assert Decision.from_json(decision.to_json()) == decision


def test_a_line_is_told_of_any_row() -> None:
    assert headline(record(None)) is headline(record("{}")) is result_of(record(None)) is None
    assert headline(record('{"energy": null}')) == Headline()
    told = headline(record(of_a_later_version(FIRST_RESULT)))
    assert told == Headline(-1.137, 0.002, None, -1.1373, "FCI", 0.99)
    assert row_of(record(FIRST_RESULT))["energy"] == -1.137
    assert row_of(replace(record(None), state=RunState.FAILED))["energy"] is None
    assert result_fields(record(of_a_later_version(FIRST_RESULT)))["unheard_of"] == [1], "shown as it is"


FIRST_FAILURES = {
    "SpecError": "spec_refused", "CannotRunError": "cannot_run_here", "BudgetExceededError": "over_budget",
    "NoRoomError": "over_budget", "DeviceGaveUpError": "device_gave_up", "UnreachableError": "no_answer",
    "UnresolvedJobError": "no_answer", "LeaseLostError": "taken_over", "StorageError": "database_failed",
    "ReservationError": "books_disagree", "RunFailedError": "cannot_go_on",
}  # fmt: skip
"""What the first versions entered of a run that failed, the name of an exception, and how it is told."""


def test_the_reason_of_a_failure_is_told_of_any_row() -> None:
    failed = replace(record(None), state=RunState.FAILED)
    for entered, told in FIRST_FAILURES.items():
        assert row_of(replace(failed, reason=entered))["reason"] == told == FailureReason(told)
    for kept in ("ZeroDivisionError", "unheard_of", "kills_its_drivers", *FailureReason, None):
        assert row_of(replace(failed, reason=kept))["reason"] == kept, "shown as it is"


def test_a_spec_that_is_no_longer_taken_is_still_read() -> None:
    old = {"problem": {"kind": "of_old"}, "account": {"tenant": "lab"}}
    assert spec_fields(record(None, old)) == old
    with pytest.raises(Exception, match="of_old"):
        spec_of(record(None, old))
