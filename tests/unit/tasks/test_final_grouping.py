"""The final evaluation is measured in groups of its own where others cost less for it."""

from dataclasses import replace
from pathlib import Path

import pytest

from ledger import Journal
from optimizers import Reason
from shotwise.spec import RunSpec
from tasks.advance import advance
from tasks.evaluate import answer_from, exact_energies
from tasks.loop_tasks import evaluate_finally
from tasks.prepare import prepare
from tasks.result import build_result
from tests.unit.tasks.by_hand import Run

TARGET = 3e-3

DEAR = """
[device.dear]
provider = "lightning"
description = "A simulator with the fees of a quantum computer and no errors"
n_qubits = 20
shots_max = 1000000
circuits_max = 1
price = "dear"
queue = "none"
enabled = true

[price.dear]
per_task_usd = 0.30
per_shot_usd = 0.00145
failure_billing = "none"
date = "2026-11-21"
source = "a test"
"""
HEH_PLUS = {"kind": "molecule", "geometry": "He 0 0 0; H 0 0 0.7743", "charge": 1}
"""Nine qubit-wise groups have less variance than three that commute fully; those have fewer circuits."""


@pytest.fixture
def dear(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dear.toml").write_text(DEAR)
    monkeypatch.setenv("SHOTWISE_CATALOG", str(tmp_path))


@pytest.fixture
def run(journal: Journal, dear: None) -> Run:
    return Run(
        journal,
        problem=HEH_PLUS,
        optimizer="auto",
        device="dear",
        shot_policy="adaptive",
        target_std_error=TARGET,
    )


def test_many_circuits_are_saved_while_it_moves_and_shots_at_the_end(run: Run) -> None:
    assert len(run.prepared.grouping) == 3
    assert len(run.prepared.at_end.grouping) == 9
    assert run.prepared.at_end.at_end is run.prepared.at_end


def test_the_final_evaluation_of_other_groups_is_true(run: Run) -> None:
    measured = run.buy()
    assert len(measured.parts[0][0].bases) == 3
    state, _ = advance(run.prepared, run.state, answer_from(run.prepared, run.state, measured))
    state = replace(state, reason=Reason.PLATEAU)
    final = evaluate_finally.fn(run.prepared, run.lease, run.buyer, state)
    circuit = run.prepared.stage().circuit
    exact = float(exact_energies(run.prepared, circuit, state.parameters[None])[0])
    assert final.energy_std_error == pytest.approx(TARGET, rel=0.25)
    assert abs(final.energy - exact) < 5 * final.energy_std_error
    assert len([job for job in run.jobs if job.batch_id.final]) == 9, "a job for every circuit"
    method = build_result(run.prepared, run.run_id, state, final).method
    assert method["grouping"] == f"{run.prepared.grouping.kind}, at the end overlapping"


def test_a_run_keeps_its_groups_when_prices_change(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = run.prepared
    run.interrupt()
    other = tmp_path / "other"
    other.mkdir()
    (other / "dear.toml").write_text(DEAR.replace("0.30", "0.00"))
    monkeypatch.setenv("SHOTWISE_CATALOG", str(other))
    assert prepare(replace_seed(run.spec)).grouping.kind != before.grouping.kind, "it would choose others now"
    run.drive()
    assert run.prepared.grouping.kind == before.grouping.kind
    assert run.prepared.at_end.grouping.kind == before.at_end.grouping.kind


def replace_seed(spec: RunSpec) -> RunSpec:
    """Another run of the same kind: what is prepared is shared between equal specs."""
    return spec.model_copy(update={"seed": spec.seed + 1})
