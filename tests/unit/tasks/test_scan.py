"""Scans, recursions and starts in the journal, without Prefect."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ledger import Database, Journal, NewRun
from optimizers import Reason
from problems import Elimination, interpolate
from shotwise.errors import SpecError
from shotwise.spec import BondScan, RunSpec, validate
from tasks import recursion, scan
from tasks.overbilling import Overbilling
from tasks.scan import (
    ScanPoint,
    ScanResult,
    budget_is_spent,
    plot_scan,
    point_spec,
    reason_of,
    scan_totals,
)
from tasks.starts import resolve_start

H2 = {"kind": "molecule", "geometry": "H 0 0 0; H 0 0 0.5"}
CUT = {"kind": "maxcut", "generator": {"name": "random_regular", "degree": 3, "nodes": 20, "seed": 1}}
FEW_SHOTS = {"mode": "shots", "shots": 99}
BOND = {"bond": [0, 1], "from": 0.5, "to": 0.9, "points": 3}


def point(value: float, shots: int = 0, parameters: tuple[float, ...] = (0.1, 0.2, 0.3)) -> ScanPoint:
    return ScanPoint(
        value, f"run.{value}", "converged", -1.0 - value, 0.01, -1.5, 3, 4, shots, 0.25, parameters
    )


def test_a_point_has_its_place_its_neighbours_parameters_and_what_is_left() -> None:
    spec = validate({"problem": H2, "scan": BOND, "budget": {"shots": 100, "usd": 1.0}})
    assert isinstance(spec.scan, BondScan)
    assert spec.scan.values == (0.5, 0.7, 0.9)
    first, second = point_spec(spec, ()), point_spec(spec, (point(0.5, shots=30),))
    assert (first.scan, first.problem.geometry) == (None, "H 0 0 0; H 0 0 0.5")  # pyright: ignore
    assert second.problem.geometry == "H 0 0 0; H 0 0 0.7"  # pyright: ignore
    assert second.ansatz.parameters == (0.1, 0.2, 0.3)  # pyright: ignore
    assert (second.budget.shots, second.budget.usd) == (70, 0.75)
    assert not budget_is_spent(spec, (point(0.5, shots=30),))
    assert budget_is_spent(spec, (point(0.5, shots=99),))
    assert budget_is_spent(spec, (point(0.5),) * 4)
    assert RunSpec.model_validate_json(second.canonical_json()) == second


@pytest.mark.parametrize(
    ("reasons", "ended"),
    [
        (["converged", "converged"], Reason.CONVERGED),
        (["plateau", "converged"], Reason.PLATEAU),
        (["iteration_limit", "budget_reached"], Reason.BUDGET_REACHED),
    ],
)
def test_a_scan_whose_last_point_ended_for_the_budget_did(reasons: list[str], ended: Reason) -> None:
    points = [replace(point(at), reason=reason) for at, reason in enumerate(reasons)]
    assert reason_of(points) is ended


def test_a_scan_says_what_its_points_took() -> None:
    curve = ScanResult("scan-1", "completed", "converged", "bond", (point(0.5, 700), point(0.7, 400)))
    assert scan_totals(curve) == "2 points, 1,100 shots, $0.50"
    billed = replace(curve.points[0], overbilling=Overbilling(2.5))
    dear = ScanResult.from_json(replace(curve, points=(billed, curve.points[1])).to_json())
    assert scan_totals(dear).endswith(f"$0.50; {billed.run_id}: billed $2.50 above the quotes")


def test_layers_are_interpolated_along_a_scan() -> None:
    spec = validate({"problem": CUT, "scan": {"layers": [1, 3]}})
    deeper = point_spec(spec, (point(1, parameters=(0.6, 0.4)),))
    assert deeper.ansatz.parameters == pytest.approx(interpolate(np.array([0.6, 0.4]), 3))  # pyright: ignore
    assert deeper.ansatz.layers == 3  # pyright: ignore


def test_a_curve_survives_storage_and_is_drawn(tmp_path: Path) -> None:
    points = (point(0.5), point(0.7), point(0.9))
    assert scan.from_bytes(scan.to_bytes(points)) == points
    curve = ScanResult("scan-1", "completed", "converged", "bond 0-1 (angstrom)", points)
    assert ScanResult.from_json(curve.to_json()) == curve
    kept = json.loads(curve.to_json())
    assert (kept["energy"], kept["value"], kept["cost_usd"]) == (-1.9, 0.9, 0.75)
    plot_scan(curve, tmp_path / "plots" / "curve.png", unit="Ha")
    assert (tmp_path / "plots" / "curve.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"problem": CUT, "scan": BOND}, "needs a molecule"),
        ({"problem": H2, "scan": {"layers": [1, 2]}}, "needs ansatz.kind qaoa"),
        ({"problem": H2, "scan": BOND, "ansatz": {"kind": "adapt"}}, "starts anew"),
        ({"problem": CUT, "scan": {"layers": [2, 2]}}, "must grow"),
        ({"problem": H2, "objective": {"kind": "cvar"}}, "needs maxcut"),
        ({"problem": CUT, "objective": {"kind": "cvar"}, "optimizer": {"name": "rotosolve"}}, "expectation"),
        (
            {"problem": CUT, "objective": {"kind": "cvar", "alpha": 0.01}, "execution": FEW_SHOTS},
            "at least 1000 shots",
        ),
        ({"problem": CUT, "ansatz": {"kind": "rqaoa"}, "optimizer": {"name": "sgd"}}, "remove optimizer"),
        ({"problem": H2, "ansatz": {"kind": "rqaoa"}}, "needs maxcut"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused(sections: dict, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        validate(sections)


def test_a_recursion_goes_on_from_its_steps() -> None:
    ready = recursion.prepare_recursion(validate({"problem": CUT, "ansatz": {"kind": "rqaoa", "cutoff": 8}}))
    state, energies = Elimination.of(ready.model), []
    while not recursion.is_done(ready, state):
        restored = recursion.from_bytes(ready, recursion.to_bytes(state))
        state, record = recursion.eliminate(ready, restored)
        energies.append(record.energy)
    assert len(energies) == ready.iterations_max == 12
    result = recursion.recursion_result(ready, "r", state, Reason.CONVERGED)
    assert result.best_cut_value is not None
    assert result.baseline_cut_value is not None
    assert result.best_cut_value >= 0.9 * result.baseline_cut_value
    assert len(result.bitstring or "") == 20


def entered(journal: Journal, spec: RunSpec, parameters: list[float] | None) -> str:
    run_id = journal.create_run(
        NewRun(
            name="r", kind="maxcut", spec_json=spec.canonical_json(), problem_sha256="", versions_json="{}"
        )
    )
    if parameters is not None:
        journal.acquire(run_id).finish(
            state="completed", reason="converged", result_json=json.dumps({"parameters": parameters})
        )
    return run_id


def test_a_start_in_another_run_is_written_into_the_spec(tmp_path: Path) -> None:
    journal = Journal(Database(f"sqlite:///{tmp_path}/shotwise.db"))
    shallow = validate({"problem": CUT, "ansatz": {"kind": "qaoa", "layers": 2}})
    run_id = entered(journal, shallow, [1.0, 2.0, 5.0, 3.0])

    def asked(start: str, layers: int = 3) -> RunSpec:
        return validate({"problem": CUT, "ansatz": {"kind": "qaoa", "layers": layers, "start": start}})

    resolved = resolve_start(asked(f"run:{run_id}"), journal)
    assert resolved.ansatz.parameters == pytest.approx((1.0, 1.5, 2.0, 5.0, 4.0, 3.0))  # pyright: ignore
    assert resolve_start(resolved, journal) is resolved, "the numbers are in the spec: no journal is asked"
    assert resolve_start(shallow, journal) is shallow
    unfinished = entered(journal, shallow, None)
    recursive = entered(journal, validate({"problem": CUT, "ansatz": {"kind": "rqaoa"}}), [])
    layers = {"scan": {"layers": [1, 2]}, "ansatz": {"kind": "qaoa"}}
    curve = entered(journal, validate({"problem": CUT, **layers}), [])
    ended = entered(journal, shallow, [])
    for start, layers, words in (
        ("run:none", 3, "no such run"),
        (f"run:{unfinished}", 3, "it has no final parameters .* let it come to its end first"),
        (f"run:{recursive}", 3, "recursive QAOA has no parameters to start from"),
        (f"run:{curve}", 3, f"a scan has no parameters of its own .* as in {curve}.000"),
        (f"run:{ended}", 3, "it ended without final parameters"),
        (f"run:{run_id}", 1, "more than the 1"),
    ):
        with pytest.raises(SpecError, match=words):
            resolve_start(asked(start, layers), journal)
    with pytest.raises(SpecError, match="the ansatz is uccsd"):
        resolve_start(
            validate({"problem": H2, "ansatz": {"kind": "uccsd", "start": f"run:{run_id}"}}), journal
        )
