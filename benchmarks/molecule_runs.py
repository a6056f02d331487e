"""Runs of the examples' molecules without journal and orchestration, and what their batches cost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from backends.catalog import DeviceDescription, join_outcomes, load_catalog, split_plan
from backends.catalog.equal_shots import equal_cut
from backends.catalog.fees import fees_of
from backends.prices import Usage
from measurement import ExecutionPlan, Fees, Outcome
from shotwise.spec import load_spec
from tasks.advance import advance
from tasks.evaluate import BatchResult, answer_from, exact_energies, plan_iteration
from tasks.last_look import look_plan, plan_after
from tasks.prepare import prepare
from tasks.prepared import Prepared
from tasks.result import final_plan
from tasks.state import LoopState, at_end, initial

EXAMPLES = Path(__file__).parent.parent / "examples"
ACCURACY = 1.6e-3
PROGRAM_SETS = load_catalog()["braket-iqm-garnet"]
"""Up to 100 circuits of equal shots a task, $0.30 a task and $0.00145 a shot."""
SINGLE_CIRCUITS = PROGRAM_SETS.model_copy(
    update={"circuits_max": 1, "equal_shots": False, "job_shots_max": None, "shots_max": 10**9}
)
"""The same device and prices with a task for every circuit."""
LARGER = {
    name: f"{{kind: molecule, geometry: '{geometry}', active_space: {{electrons: {electrons}, orbitals: 6}}}}"
    for name, geometry, electrons in (
        ("beh2", "Be 0 0 0; H 0 0 1.326; H 0 0 -1.326", 4),
        ("h2o", "O 0 0 0; H 0.7572 0.5865 0; H -0.7572 0.5865 0", 8),
        ("n2", "N 0 0 0; N 0 0 1.0977", 6),
    )
}
"""Problems of 12 qubits beside those of `examples`; lengths in angstrom."""


def ready(molecule: str, seed: int, optimizer: str, execution: str) -> Prepared:
    molecule, _, symmetry = molecule.partition("/")
    overrides = [f"seed={seed}", f"optimizer={optimizer}", f"execution={execution}"]
    if symmetry:
        overrides.append(f"ansatz.symmetry={symmetry}")
    if molecule in LARGER:
        overrides.append(f"problem={LARGER[molecule]}")
    file = "lih_active" if molecule in LARGER else molecule
    return prepare(load_spec(EXAMPLES / f"{file}.yaml", tuple(overrides)))


@dataclass(frozen=True, eq=False)
class Priced(Prepared):
    """A run that is told of a device's fees, and measures in its jobs."""

    device_prices: DeviceDescription = SINGLE_CIRCUITS

    @cached_property
    def fees(self) -> Fees:
        return fees_of(self.device_prices)


def priced(prepared: Prepared, device: DeviceDescription) -> Prepared:
    """The same, told of a device's fees."""
    return Priced(prepared.spec, prepared.problem, prepared.ansatz, prepared.device, device_prices=device)


@dataclass
class Bill:
    """What batches cost, by circuits' shots.

    Attributes:
        shots: as planned.
        usd: at a task a circuit.
        set_shots, set_usd: in program sets, rounding up included.
    """

    shots: int = 0
    usd: float = 0.0
    set_shots: int = 0
    set_usd: float = 0.0

    def add(self, shots: np.ndarray) -> None:
        """A batch of circuits of so many shots each, shape (circuits,)."""
        shots = shots[shots > 0]
        self.shots += int(shots.sum())
        self.usd += usd(len(shots), int(shots.sum()))
        cut = equal_cut(shots, PROGRAM_SETS)
        circuits = int((-(-shots // cut.shots)).sum())
        self.set_shots += circuits * cut.shots
        self.set_usd += usd(-(-circuits // cut.circuits), circuits * cut.shots)


def usd(tasks: int, shots: int) -> float:
    """At the price of the device."""
    return PROGRAM_SETS.price.cost_micro_usd(Usage(tasks=tasks, shots=shots)) / 1e6


def iterate(
    prepared: Prepared, device: DeviceDescription | None = None
) -> Iterator[tuple[ExecutionPlan, LoopState]]:
    """Every iteration's plan and the state after it; measured in the jobs of a device where one is named."""
    state = initial(prepared)
    while state.reason is None:
        plan = plan_iteration(prepared, state)
        answer = answer_from(prepared, state, BatchResult.free(plan, measured(prepared, plan, device)))
        state, _ = advance(prepared, state, answer)
        yield plan, state


def final_plans(
    prepared: Prepared, state: LoopState, device: DeviceDescription | None = None
) -> list[ExecutionPlan]:
    """What is measured at the end, in order; the last is the final evaluation."""
    prepared, state = at_end(prepared, state)
    look = look_plan(prepared, state)
    if look is None:
        return [final_plan(prepared, state)]
    seen = BatchResult.free(look, measured(prepared, look, device))
    return [look, plan_after(prepared, state, seen)]


def measured(prepared: Prepared, plan: ExecutionPlan, device: DeviceDescription | None) -> Outcome:
    """A plan's outcome, in jobs of that device."""
    if device is None:
        return prepared.device.sample(plan)
    batches = split_plan(plan, device)
    return join_outcomes(plan, batches, [prepared.device.sample(batch.plan) for batch in batches])


def above_reference(prepared: Prepared, state: LoopState) -> float:
    """True energy of the current parameters above FCI."""
    reference = prepared.problem.reference
    assert reference is not None
    circuit = prepared.stage().circuit
    return float(exact_energies(prepared, circuit, state.parameters[None])[0]) - reference.energy
