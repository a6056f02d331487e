"""What a run found: the final evaluation and the result that is kept and printed as JSON."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace

import numpy as np

from ledger import Amount, RunState
from measurement import ExecutionPlan
from optimizers import Need, Reason
from shotwise.rng import Purpose
from shotwise.spec import SHOTS_MAX
from shotwise.version_compatibility import known_fields
from tasks.evaluate import (
    BatchResult,
    best_sample,
    combined_estimates,
    draw_candidates,
    exact_energies,
    exact_tail,
    fidelity_at,
    objectives_of,
    plan_energies,
)
from tasks.gradient import gradient_of
from tasks.interval import half_width
from tasks.overbilling import AS_QUOTED, Overbilling
from tasks.prepared import Prepared
from tasks.sampling import final_shots, final_sigmas
from tasks.state import LoopState, Sample


@dataclass(frozen=True)
class RunResult:
    """The result of a run. Energies are in the problem's unit; graph problems have the cut fields too.

    Attributes:
        state: completed, or failed where the optimization diverged.
        reason: why the optimization ended.
        energy, energy_std_error: at the final parameters; sampled runs evaluate them anew for this, so that
            the energy is not biased by having been selected. None where no budget was left for that.
        predicted_bias: |bias| that the devices were predicted to add to the energy, mitigation considered;
            the standard error does not contain it. None where nothing was routed.
        uncalibrated: devices among them that told no calibration: their bias cannot be predicted, and counts
            as the largest that noise can make.
        disagreement: chi square per degree of freedom of the devices that measured the energy, where it is
            more than noise explains; the standard error was widened by its root.
        error: energy - reference_energy.
        fidelity: weight of the final state on the exact ground space, as the circuit would make it without
            noise.
        iterations: of the optimizer, without the pilot.
        parameters_sha256: of the final parameters as little-endian float64.
        cut_value: expectation of the cut at the final parameters; best_cut_value and bitstring: the best
            sample of the whole run, one character a node in node order; approximation_ratio: best over
            reference; expected_approximation_ratio: that of `cut_value`.
        best_value: energy of the best sample, for diagonal problems.
        mitigation: of the final energy: what was picked and why; None where nothing was asked for.
        calibration_shots, calibration_cost_usd: spent on readout calibrations, within `shots` and `cost_usd`.
        cvar, cvar_std_error: at the final parameters, where a CVaR was minimised; `energy` is the mean.
        baseline_cut_value, baseline_method: what a classical heuristic finds, for cuts.
        target_std_error: what was asked for, where the spec said it; `energy_std_error` is what was achieved.
        spent_by_phase: shots and USD of pilot, optimization and final evaluation.
        spent_by_device: shots and USD of every device.
        method: the optimizer, the gradient and the grouping that were used, `auto` resolved, with the reason.
        overbilling: what was billed above its quotes when it ended, and where that is disputed.
    """

    run_id: str
    state: RunState
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
    expected_approximation_ratio: float | None = None
    operators: int | None = None
    mitigation: str | None = None
    calibration_shots: int = 0
    calibration_cost_usd: float = 0.0
    target_std_error: float | None = None
    spent_by_phase: dict[str, dict[str, float]] = field(default_factory=dict)
    spent_by_device: dict[str, dict[str, float]] = field(default_factory=dict)
    method: dict[str, str] = field(default_factory=dict)
    cvar: float | None = None
    cvar_std_error: float | None = None
    baseline_cut_value: float | None = None
    baseline_method: str | None = None
    predicted_bias: float | None = None
    disagreement: float | None = None
    overbilling: Overbilling = AS_QUOTED
    uncalibrated: list[str] = field(default_factory=list)

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of the energy; None where it is exact or unknown."""
        if self.energy is None or not self.energy_std_error:
            return None
        half = half_width(self.energy_std_error)
        return self.energy - half, self.energy + half

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> RunResult:
        """Read `to_json` of any version back."""
        told = known_fields(cls, json.loads(text))
        billed = Overbilling(**known_fields(Overbilling, told.get("overbilling", {})))
        return cls(**{**told, "state": RunState(told["state"]), "overbilling": billed})


@dataclass(frozen=True, eq=False)
class FinalEvaluation:
    """The evaluation that a run ends with."""

    parameters: np.ndarray
    energy: float
    energy_std_error: float
    sample: Sample | None
    fidelity: float | None
    evaluations: int
    shots: int
    cost_micro_usd: int = 0
    tail: tuple[float, float] | None = None
    """CVaR and its standard error, where that was minimised."""
    mitigation: str | None = None
    disagreement: float | None = None
    """See `measurement.Combination`."""


def final_plan(prepared: Prepared, state: LoopState, *, shots_max: int = SHOTS_MAX) -> ExecutionPlan:
    """One independent evaluation at the last parameters, of a run `at_end`."""
    circuit = prepared.stage(state.operators).circuit
    angles = circuit.angles(state.parameters[None, :])
    shots = np.array([min(final_shots(prepared, state), shots_max)])
    path = (Purpose.FINAL_MEASUREMENT, state.iteration)
    return plan_energies(prepared, circuit, angles, shots, final_sigmas(prepared, state), path)


def final_from(
    prepared: Prepared, state: LoopState, measured: BatchResult, *, look: BatchResult | None = None
) -> FinalEvaluation:
    """The final evaluation of a sampled run, with what a `look` before it cost."""
    found = combined_estimates(prepared, measured)
    estimates = found.estimates
    circuit = measured.parts[0][0].circuit
    return FinalEvaluation(
        state.parameters,
        float(estimates.means[0]),
        float(np.sqrt(estimates.variances[0])),
        best_sample(prepared, measured),
        fidelity_at(prepared, circuit, state.parameters),
        1 if look is None else 2,
        measured.shots + (look.shots if look else 0),
        measured.cost_micro_usd + (look.cost_micro_usd if look else 0),
        _tail(prepared, measured),
        _mitigation_of(measured),
        found.disagreement,
    )


def final_exact(prepared: Prepared, state: LoopState) -> FinalEvaluation:
    """The final evaluation of an exact run: at the best parameters seen, or where the optimizer stands."""
    circuit = prepared.stage(state.operators).circuit
    candidates = [point for point in (state.best and state.best[1], state.parameters) if point is not None]
    energies = exact_energies(prepared, circuit, np.array(candidates))
    tails = [exact_tail(prepared, circuit, point) for point in candidates]
    objectives = energies if prepared.tail is None else np.array(tails, dtype=float)
    at = int(np.argmin(np.nan_to_num(objectives, nan=np.inf)))
    parameters, tail = candidates[at], tails[at]
    diagonal = prepared.problem.observable.is_diagonal
    return FinalEvaluation(
        parameters,
        float(energies[at]),
        0.0,
        draw_candidates(prepared, circuit, parameters[None, :], state.iteration) if diagonal else None,
        fidelity_at(prepared, circuit, parameters),
        len(candidates),
        0,
        tail=None if tail is None else (tail, 0.0),
    )


def final_unmeasured(prepared: Prepared, state: LoopState) -> FinalEvaluation:
    """What a run ends with that no budget is left to measure: where it came to, and no energy.

    An iteration's energy is none of the final parameters: they have moved since, and what an optimizer sees
    may be a fit or a mean around them.
    """
    fidelity = fidelity_at(prepared, prepared.stage(state.operators).circuit, state.parameters)
    return FinalEvaluation(state.parameters, np.nan, np.nan, None, fidelity, 0, 0)


def _tail(prepared: Prepared, measured: BatchResult) -> tuple[float, float] | None:
    if prepared.tail is None:
        return None
    estimates = objectives_of(prepared, measured)
    return float(estimates.means[0]), float(np.sqrt(estimates.variances[0]))


def build_result(
    prepared: Prepared,
    run_id: str,
    state: LoopState,
    final: FinalEvaluation,
    spent_by_device: Mapping[str, Amount] | None = None,
) -> RunResult:
    """The result of a run that came to its end; `state` has the final evaluation's costs already."""
    reason = state.reason or Reason.ITERATION_LIMIT
    reference = prepared.problem.reference
    result = RunResult(
        run_id=run_id,
        state=RunState.FAILED if reason is Reason.DIVERGED else RunState.COMPLETED,
        reason=reason,
        energy=_finite(final.energy),
        energy_std_error=_finite(final.energy_std_error),
        reference_energy=reference.energy if reference else None,
        reference_method=reference.method if reference else None,
        error=_finite(final.energy - reference.energy) if reference else None,
        fidelity=final.fidelity,
        iterations=state.iterations,
        evaluations=state.evaluations,
        shots=state.shots,
        cost_usd=state.cost_micro_usd / 1e6,
        parameters_sha256=hashlib.sha256(final.parameters.astype("<f8").tobytes()).hexdigest(),
        parameters=[float(p) for p in final.parameters],
        operators=len(state.operators) if prepared.ansatz.pool is not None else None,
        method=method_of(prepared, state),
        mitigation=final.mitigation,
        disagreement=final.disagreement,
        cvar=final.tail[0] if final.tail else None,
        cvar_std_error=final.tail[1] if final.tail else None,
    )
    if prepared.sampled:
        result = replace(
            result,
            target_std_error=prepared.shots_execution.target_std_error,
            spent_by_phase=_phases(state, final),
            spent_by_device={name: _spent(a) for name, a in (spent_by_device or {}).items()},
        )
    baseline = prepared.problem.baseline
    if baseline is not None:
        result = replace(result, baseline_cut_value=-baseline.energy, baseline_method=baseline.method)
    return result if state.sample is None else _with_sample(prepared, result, state.sample)


def _phases(state: LoopState, final: FinalEvaluation) -> dict[str, dict[str, float]]:
    pilot = Amount(state.pilot_shots, state.pilot_micro_usd)
    last = Amount(final.shots, final.cost_micro_usd)
    moving = Amount(
        state.shots - pilot.shots - last.shots, state.cost_micro_usd - pilot.micro_usd - last.micro_usd
    )
    return {"pilot": _spent(pilot), "optimization": _spent(moving), "final": _spent(last)}


def _spent(amount: Amount) -> dict[str, float]:
    return {"shots": amount.shots, "cost_usd": amount.usd}


def method_of(prepared: Prepared, state: LoopState) -> dict[str, str]:
    """Optimizer, gradient and grouping, with `auto` resolved and the reason for the gradient."""
    optimizer = prepared.optimizer_spec.name
    if not prepared.sampled:
        return {"optimizer": optimizer}
    last = prepared.at_end.grouping.kind
    apart = "" if last == prepared.grouping.kind else f", at the end {last}"
    method = {"optimizer": optimizer, "grouping": prepared.grouping.kind + apart}
    stage = prepared.stage(state.operators)
    if stage.optimizer.need is Need.VALUE:
        return method
    gradient = gradient_of(prepared, stage.circuit, stage.shift_rule)
    return {**method, "gradient": f"{gradient.kind} ({gradient.reason})"}


def _with_sample(prepared: Prepared, result: RunResult, sample: Sample) -> RunResult:
    """Add what only diagonal problems have: the best sample, and for graphs the cut that it is."""
    bits = "".join(str(sample.state >> q & 1) for q in range(prepared.problem.n_qubits))
    result = replace(result, best_value=sample.energy, bitstring=bits)
    if not prepared.problem.is_cut:
        return result
    best = result.reference_energy
    return replace(
        result,
        cut_value=None if result.energy is None else 0.0 - result.energy,
        best_cut_value=0.0 - sample.energy,
        reference_cut_value=None if best is None else 0.0 - best,
        approximation_ratio=sample.energy / best if best else None,
        expected_approximation_ratio=None if result.energy is None or not best else result.energy / best,
    )


def _mitigation_of(measured: BatchResult) -> str | None:
    """What was done to the parts of a measurement, each thing once."""
    reasons = dict.fromkeys(treated.reason for treated in measured.mitigated if treated)
    return "; ".join(reasons) or None


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
