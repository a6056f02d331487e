"""Recursive QAOA as a run: every elimination is an iteration of the journal. Knows nothing of Prefect."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ledger import IterationRecord, RunState, now_us
from optimizers import Reason
from problems import (
    Elimination,
    IsingModel,
    OneLayer,
    Relaxation,
    Step,
    bitstring,
    build_model,
    descend,
    goemans_williamson,
)
from shotwise.errors import RunFailedError
from shotwise.rng import Purpose, stream
from shotwise.spec import MoleculeSpec, PauliSpec, RqaoaAnsatz, RunSpec
from tasks.result import RunResult

FORMAT = 1


@dataclass(frozen=True, eq=False)
class Recursion:
    """A spec made ready to be solved by elimination."""

    spec: RunSpec
    model: IsingModel
    baseline: Relaxation

    @property
    def cutoff(self) -> int:
        assert isinstance(self.spec.ansatz, RqaoaAnsatz)
        return self.spec.ansatz.cutoff

    @property
    def iterations_max(self) -> int:
        """Eliminations in all."""
        return max(0, self.model.n - self.cutoff)


def prepare_recursion(spec: RunSpec) -> Recursion:
    """Build the model and what it will be compared with; once a process for equal specs.

    Raises:
        SpecError, CannotRunError: as `problems.build_model`.
    """
    return _prepare(spec.canonical_json())


@lru_cache(maxsize=4)
def _prepare(canonical_json: str) -> Recursion:
    spec = RunSpec.model_validate_json(canonical_json)
    assert not isinstance(spec.problem, MoleculeSpec | PauliSpec), "the spec refuses them"
    model = build_model(spec.problem)
    return Recursion(spec, model, goemans_williamson(model))


def is_done(recursion: Recursion, state: Elimination) -> bool:
    return state.model.n <= recursion.cutoff


def eliminate(recursion: Recursion, state: Elimination) -> tuple[Elimination, IterationRecord]:
    """One elimination: the best angles of one layer, the strongest correlation there, one spin less.

    The record's energy is the expectation at those angles under all steps before, its parameters are
    (gamma, beta) in radians per energy unit and radians.
    """
    iteration = len(state.steps)
    gamma, beta = OneLayer(state.model).best_angles()
    step = state.choose(gamma, beta, stream(recursion.spec.seed, Purpose.OPTIMIZER, iteration))
    record = IterationRecord(
        iteration=iteration,
        at_us=now_us(),
        energy=OneLayer(state.model).energy(gamma, beta),
        energy_std_error=0.0,
        gradient_norm=None,
        fidelity=None,
        evaluations=0,
        shots=0,
        cost_micro_usd=0,
        parameters=np.array([gamma, beta], dtype="<f8").tobytes(),
    )
    return state.take(step), record


def to_bytes(state: Elimination) -> bytes:
    """The steps as JSON: the model that is left follows from them."""
    return json.dumps({"format": FORMAT, "steps": state.steps}).encode()


def from_bytes(recursion: Recursion, data: bytes) -> Elimination:
    """Read `to_bytes` back.

    Raises:
        RunFailedError: written by another version.
    """
    kept = json.loads(data)
    if kept.get("format") != FORMAT:
        raise RunFailedError(
            "the checkpoint was written by another version of Shotwise; resume it with that version"
        )
    state = Elimination.of(recursion.model)
    for step in kept["steps"]:
        state = state.take(Step(*step))
    return state


def recursion_result(recursion: Recursion, run_id: str, state: Elimination, reason: Reason) -> RunResult:
    """The solution: what is left enumerated, the steps undone, and single flips that still lower the energy.

    `energy` is that of the recursion's own spins; `best_value` and the bits are after the flips.
    """
    own = state.solution()[None, :].astype(np.float64)
    spins = descend(recursion.model, own)
    energy, best = (float(recursion.model.energies(rows)[0]) for rows in (own, spins))
    baseline, is_cut = recursion.baseline, recursion.spec.is_cut
    return RunResult(
        run_id=run_id,
        state=RunState.COMPLETED,
        reason=reason,
        energy=energy,
        energy_std_error=0.0,
        reference_energy=baseline.energy,
        reference_method=baseline.reference().method,
        error=energy - baseline.energy,
        fidelity=None,
        iterations=len(state.steps),
        evaluations=0,
        shots=0,
        cost_usd=0.0,
        parameters_sha256=hashlib.sha256(own.astype("<f8").tobytes()).hexdigest(),
        parameters=[],
        best_value=best,
        bitstring=bitstring(spins[0]),
        cut_value=-energy if is_cut else None,
        best_cut_value=-best if is_cut else None,
        reference_cut_value=-baseline.energy if is_cut else None,
        approximation_ratio=best / baseline.energy if is_cut and baseline.energy else None,
        baseline_cut_value=-baseline.energy if is_cut else None,
        baseline_method=baseline.reference().method if is_cut else None,
    )
