"""What a run found: the final evaluation and the result that is kept, shown and printed as JSON."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace

import numpy as np

from ledger import IterationRecord
from measurement import ExecutionPlan
from optimizers import Reason
from shotwise.rng import Purpose
from tasks.evaluate import (
    Measured,
    best_sample,
    draw_candidates,
    estimates_of,
    exact_energies,
    fidelity_at,
    plan_energies,
)
from tasks.prepare import Prepared
from tasks.sampling import final_shots
from tasks.state import LoopState, Sample


@dataclass(frozen=True)
class RunResult:
    """The result of a run. Energies are in the problem's unit; graph problems have the cut fields too.

    Attributes:
        state: "completed", "interrupted" or "failed".
        reason: why the optimization ended.
        energy, energy_std_error: at the final parameters; sampled runs evaluate them anew for this, so that
            the energy is not biased by having been selected.
        error: energy - reference_energy.
        fidelity: weight of the final state on the exact ground space.
        parameters_sha256: of the final parameters as little-endian float64.
        cut_value: expectation of the cut at the final parameters; best_cut_value and bitstring: the best
            sample of the whole run, one character a node in node order; approximation_ratio: best over
            reference.
        best_value: energy of the best sample, for diagonal problems.
    """

    run_id: str
    state: str
    reason: str
    energy: float | None
    energy_std_error: float | None
    reference_energy: float | None
    reference_method: str | None
    error: float | None
    fidelity: float | None
    iterations: int
    evaluations: int
    shots: int
    cost_usd: float
    parameters_sha256: str | None
    parameters: list[float]
    cut_value: float | None = None
    best_cut_value: float | None = None
    best_value: float | None = None
    bitstring: str | None = None
    reference_cut_value: float | None = None
    approximation_ratio: float | None = None
    operators: int | None = None

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> RunResult:
        return cls(**json.loads(text))


@dataclass(frozen=True, eq=False)
class Final:
    """The evaluation that a run ends with."""

    parameters: np.ndarray
    energy: float
    energy_std_error: float
    sample: Sample | None
    fidelity: float | None
    evaluations: int
    shots: int
    cost_micro_usd: int = 0


def final_plan(prepared: Prepared, state: LoopState) -> ExecutionPlan:
    """One independent evaluation at the last parameters."""
    circuit = prepared.stage(state.operators).circuit
    angles = circuit.angles(state.parameters[None, :])
    shots = np.array([final_shots(prepared, state)])
    path = (Purpose.FINAL_MEASUREMENT, state.iteration)
    return plan_energies(prepared, circuit, angles, shots, state.centre_variances.sigmas, path)


def final_from(prepared: Prepared, state: LoopState, measured: Measured) -> Final:
    """The final evaluation of a sampled run."""
    estimates = estimates_of(prepared, measured)
    circuit = measured.parts[0][0].circuit
    return Final(
        state.parameters,
        float(estimates.means[0]),
        float(np.sqrt(estimates.variances[0])),
        best_sample(prepared, measured),
        fidelity_at(prepared, circuit, state.parameters),
        1,
        measured.shots,
        measured.cost_micro_usd,
    )


def final_exact(prepared: Prepared, state: LoopState) -> Final:
    """The final evaluation of an exact run: at the best parameters seen, which are known without noise."""
    circuit = prepared.stage(state.operators).circuit
    parameters = state.best[1] if state.best else state.parameters
    diagonal = prepared.problem.hamiltonian.is_diagonal
    return Final(
        parameters,
        float(exact_energies(prepared, circuit, parameters[None, :])[0]),
        0.0,
        draw_candidates(prepared, circuit, parameters[None, :], state.iteration) if diagonal else None,
        fidelity_at(prepared, circuit, parameters),
        1,
        0,
    )


def final_from_record(prepared: Prepared, state: LoopState, record: IterationRecord) -> Final:
    """The last iteration's energy, where no budget is left for an evaluation of its own."""
    parameters = np.frombuffer(record.parameters, dtype="<f8")
    circuit = prepared.stage(state.operators).circuit
    fidelity = fidelity_at(prepared, circuit, parameters)
    return Final(parameters, record.energy, record.energy_std_error, None, fidelity, 0, 0)


def completed(prepared: Prepared, run_id: str, state: LoopState, final: Final) -> RunResult:
    """The result of a run that came to its end; `state` has the final evaluation's costs already."""
    reason = state.reason or Reason.ITERATION_LIMIT
    reference = prepared.problem.reference
    result = RunResult(
        run_id=run_id,
        state="failed" if reason is Reason.DIVERGED else "completed",
        reason=reason,
        energy=_finite(final.energy),
        energy_std_error=_finite(final.energy_std_error),
        reference_energy=reference.energy if reference else None,
        reference_method=reference.method if reference else None,
        error=_finite(final.energy - reference.energy) if reference else None,
        fidelity=final.fidelity,
        iterations=state.iteration,
        evaluations=state.evaluations,
        shots=state.shots,
        cost_usd=state.cost_micro_usd / 1e6,
        parameters_sha256=hashlib.sha256(final.parameters.astype("<f8").tobytes()).hexdigest(),
        parameters=[float(p) for p in final.parameters],
        operators=len(state.operators) if prepared.ansatz.pool is not None else None,
    )
    return result if state.sample is None else _with_sample(prepared, result, state.sample)


def summary_rows(result: RunResult, unit: str) -> list[tuple[str, str]]:
    """The result as (name, value) rows for a table."""
    suffix = f" {unit}" if unit else ""

    def energy(value: float | None) -> str | None:
        return None if value is None else f"{value:.8f}{suffix}"

    interval = f" +- {1.96 * result.energy_std_error:.1e} (95 %)" if result.energy_std_error else ""
    rows = [
        ("state", f"{result.state} ({result.reason})"),
        ("energy", f"{energy(result.energy)}{interval}" if result.energy is not None else None),
        (f"reference ({result.reference_method})", energy(result.reference_energy)),
        ("error", None if result.error is None else f"{result.error:.2e}{suffix}"),
        ("fidelity", None if result.fidelity is None else f"{result.fidelity:.6f}"),
        ("cut value (expected)", None if result.cut_value is None else f"{result.cut_value:.6g}"),
        ("best cut found", None if result.best_cut_value is None else f"{result.best_cut_value:.6g}"),
        (
            "reference cut",
            None if result.reference_cut_value is None else f"{result.reference_cut_value:.6g}",
        ),
        (
            "approximation ratio",
            None if result.approximation_ratio is None else f"{result.approximation_ratio:.4f}",
        ),
        (
            "best value found",
            None if result.best_value is None or result.best_cut_value else f"{result.best_value:.6g}",
        ),
        ("best bitstring", result.bitstring),
        ("grown operators", None if result.operators is None else str(result.operators)),
        ("iterations", str(result.iterations)),
        ("energy evaluations", str(result.evaluations)),
        ("shots", f"{result.shots:,}"),
        ("cost", f"${result.cost_usd:.2f}"),
    ]
    return [(name, value) for name, value in rows if value is not None]


def _with_sample(prepared: Prepared, result: RunResult, sample: Sample) -> RunResult:
    """Add what only diagonal problems have: the best sample, and for graphs the cut that it is."""
    bits = "".join(str(sample.state >> q & 1) for q in range(prepared.problem.n_qubits))
    result = replace(result, best_value=sample.energy, bitstring=bits)
    if not prepared.problem.is_cut:
        return result
    best = result.reference_energy
    return replace(
        result,
        cut_value=None if result.energy is None else -result.energy,
        best_cut_value=-sample.energy,
        reference_cut_value=None if best is None else -best,
        approximation_ratio=sample.energy / best if best else None,
    )


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
