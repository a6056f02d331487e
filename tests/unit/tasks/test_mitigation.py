"""Mitigation through the real path: noisy devices of the catalog, bought, entered, resumed, reused."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

pytest.importorskip("qiskit_aer")
pytest.importorskip("qiskit_ibm_runtime")

from backends.catalog import load_catalog, refusal
from backends.provider import SubmitRejected
from backends.transpile.folding import fold
from ledger import Amount, Database, JobBook, Journal, Ledger, NewRun, decisions_of, jobs_of
from measurement import estimate
from measurement.mitigation import Treatment, polynomial
from shotwise.errors import SpecError
from shotwise.spec import validate
from tasks.durable import Buyer
from tasks.evaluate import BatchResult, estimates_of, plan_iteration
from tasks.mitigation import choice
from tasks.planner import plan_run
from tasks.prepare import prepare
from tasks.prepared import Prepared
from tasks.purchase import purchase
from tasks.result import final_from
from tasks.retries import RetryPolicy
from tasks.routing import routing_request
from tasks.state import initial
from tasks.treatment import calibration_spent
from tests.databases import new_journal

jax.config.update("jax_enable_x64", True)
MANILA, LIMA = "sim-manila", "sim-lima"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOTWISE_HOME", str(tmp_path))


def spec(mitigation: object = "auto", **execution: object) -> dict:
    where = {} if "policy" in execution else {"device": MANILA}
    return {
        "problem": {"kind": "molecule", "geometry": "H 0 0 0; H 0 0 0.7414"},
        "ansatz": {"kind": "uccsd"},
        "optimizer": {"name": "spsa", "learning_rate": 0.1},
        "execution": {
            "mode": "shots", "shots": 4000, "mitigation": mitigation, **where, **execution,
        },
        "seed": 5,
    }  # fmt: skip


class Run:
    """A run in a journal, bought for step by step."""

    def __init__(self, database: Database, prepared: Prepared) -> None:
        self.prepared = prepared
        journal = Journal(database)
        run_id = journal.create_run(
            NewRun(name="run", kind="molecule", spec_json="{}", problem_sha256="", versions_json="{}")
        )
        account = f"tenant/project/{run_id}"
        Ledger(database).open_account(account)
        assert prepared.fleet is not None
        self.buyer = Buyer(JobBook(journal.acquire(run_id), account), prepared.fleet, RetryPolicy())

    def buy(self, iteration: int = 0) -> BatchResult:
        state = initial(self.prepared)
        plan = plan_iteration(self.prepared, state)
        request = routing_request(self.prepared, self.buyer, state)
        return purchase(self.prepared, self.buyer, iteration, plan, request, final=False)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = new_journal(tmp_path / "journal.db")
    yield opened
    opened.close()


def test_a_mitigated_batch_is_bought_entered_and_bought_once(database: Database) -> None:
    prepared = prepare(validate(spec(["readout", "zne", "symmetry"])))
    run = Run(database, prepared)
    measured = run.buy()
    state = initial(prepared)
    plan = plan_iteration(prepared, state)
    calibration = calibration_spent(database, run.buyer.book.lease.run_id)
    assert calibration.shots > 0
    assert calibration.micro_usd > 0
    assert measured.shots == plan.shots_total + calibration.shots
    assert sum(job.shots for job in jobs_of(database)) == measured.shots
    assert sum(job.cost_micro_usd for job in jobs_of(database)) == measured.cost_micro_usd

    found = estimates_of(prepared, measured)
    unmitigated = estimate(*measured.parts[0][:1], prepared.grouping, measured.parts[0][1])
    assert prepared.problem.hartree_fock_energy is not None
    before = abs(unmitigated.means - prepared.problem.hartree_fock_energy)
    after = abs(found.means - prepared.problem.hartree_fock_energy)
    assert np.median(after) < np.median(before) / 2

    again = run.buy()  # as a resumed process would: everything is in the journal already
    assert len(jobs_of(database)) == 1 + len([j for j in jobs_of(database) if not j.batch_id.calibration])
    np.testing.assert_array_equal(estimates_of(prepared, again).means, found.means)
    np.testing.assert_array_equal(estimates_of(prepared, again).variances, found.variances)
    assert (again.shots, again.cost_micro_usd) == (measured.shots, measured.cost_micro_usd)

    run.buy(iteration=1)
    other = Run(database, prepared)
    other.buy()
    assert calibration_spent(database, other.buyer.book.lease.run_id) == Amount()
    assert len([job for job in jobs_of(database) if job.batch_id.calibration]) == 1
    assert all('"route"' in text for *_, text in decisions_of(database, run.buyer.book.lease.run_id))

    final = final_from(prepared, replace(state, parameters=state.parameters), measured)
    assert final.mitigation is not None
    assert "readout" in final.mitigation
    assert "against" in final.mitigation


def test_devices_that_share_a_batch_have_calibrations_of_their_own(database: Database) -> None:
    prepared = prepare(validate(spec(["readout"], policy="ensemble", devices=[MANILA, LIMA])))
    run = Run(database, prepared)
    measured = run.buy()
    calibrations = [job for job in jobs_of(database) if job.batch_id.calibration]
    assert sorted(job.device for job in calibrations) == sorted({LIMA, MANILA})
    first, second = measured.mitigated
    assert first is not None
    assert second is not None
    assert not np.allclose(first.pieces[0].errors.e, second.pieces[0].errors.e, rtol=0.1)


def test_the_plan_prices_mitigation_and_says_why() -> None:
    planned = plan_run(prepare(validate(spec("auto"))))
    plain = plan_run(prepare(validate(spec("none"))))
    assert planned.mitigation is not None
    assert "predicted error" in planned.mitigation
    assert plain.mitigation is None
    assert planned.shots == plain.shots
    assert planned.iteration_micro_usd >= plain.iteration_micro_usd


def test_measured_readout_errors_need_a_calibration_and_published_ones_none() -> None:
    assert plan_run(prepare(validate(spec(["readout"])))).calibration_micro_usd > 0
    published = prepare(validate(spec(["readout", "twirling"], readout_from="snapshot")))
    assert plan_run(published).calibration_micro_usd == 0


def test_folds_keep_every_gate_and_stay_folded() -> None:
    prepared = prepare(validate(spec("none")))
    assert prepared.fleet is not None
    device = prepared.fleet.provider(MANILA).device  # pyright: ignore[reportAttributeAccessIssue]
    plan = plan_iteration(prepared, initial(prepared))
    expanded = Treatment(extrapolation=polynomial((1, 3, 5), 2)).expand(plan)
    circuits = device.transpile(expanded).circuits
    groups = len(plan.bases)
    pairs = [sum(len(row.qubits) == 2 and row.operation.name == "cx" for row in c.data) for c in circuits]
    assert pairs[groups : 2 * groups] == [3 * count for count in pairs[:groups]]
    assert pairs[2 * groups :] == [5 * count for count in pairs[:groups]]
    assert device.transpile(expanded).use.layout == device.transpile(plan).use.layout
    with pytest.raises(ValueError, match="odd"):
        fold(circuits[0], 2)


def test_folds_and_flips_change_nothing_but_the_noise() -> None:
    """Without noise, folded and flipped circuits sample the same state: the transpiled ones, on Aer."""
    from qiskit import transpile
    from qiskit_aer import AerSimulator

    prepared = prepare(validate(spec("none")))
    assert prepared.fleet is not None
    device = prepared.fleet.provider(MANILA).device  # pyright: ignore[reportAttributeAccessIssue]
    plan = plan_iteration(prepared, initial(prepared))
    bases = plan.bases.variations([(1, 0), (3, 0), (1, 0b0110), (0, 0b1010)])
    made = device.transpile(replace(plan, bases=bases))
    angles, groups = plan.angles[1], len(plan.bases)
    found = []
    for circuit, free in zip(made.circuits, made.free, strict=True):
        bound = circuit.assign_parameters(dict(zip(circuit.parameters, angles[free], strict=True)))
        bound.remove_final_measurements()
        bound.save_probabilities(made.use.layout)  # pyright: ignore[reportAttributeAccessIssue]
        simulator = AerSimulator(method="statevector")
        result = simulator.run(transpile(bound, simulator, optimization_level=0)).result()
        found.append(result.data()["probabilities"])
    states = np.arange(16)
    for basis in range(groups):
        once = found[basis]
        np.testing.assert_allclose(found[groups + basis], once, atol=1e-9)
        np.testing.assert_allclose(found[2 * groups + basis][states ^ 0b0110], once, atol=1e-9)


def test_devices_that_compile_themselves_are_not_asked_for_folds() -> None:
    prepared = prepare(validate(spec("none")))
    plan = Treatment(extrapolation=polynomial((1, 3), 1)).expand(plan_iteration(prepared, initial(prepared)))
    catalog = load_catalog()
    assert refusal(plan, catalog[MANILA]) is None
    assert "compile" in (refusal(plan, catalog["jax"]) or "")
    exact = prepare(validate(spec("none", device="jax", policy="cheapest", devices=["jax"])))
    assert exact.fleet is not None
    with pytest.raises(SubmitRejected, match="compile"):
        exact.fleet.provider("jax").submit(plan, "token-1")


def test_what_cannot_be_used_is_refused() -> None:
    with pytest.raises(SpecError, match="no errors"):
        prepare(validate(spec(["readout"], device="jax")))
    layered = spec(["symmetry"]) | {"ansatz": {"kind": "hardware_efficient"}}
    with pytest.raises(SpecError, match="symmetry"):
        prepare(validate(layered))
    assert choice(*_auto_on_exact())[0] is None


def _auto_on_exact():
    prepared = prepare(validate(spec("auto", device="jax", policy="cheapest", devices=["jax"])))
    return prepared, "jax", plan_iteration(prepared, initial(prepared))
