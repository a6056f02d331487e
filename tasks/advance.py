"""The classical half of an iteration: tell the optimizer, grow the ansatz, decide whether to go on."""

from __future__ import annotations

from dataclasses import replace
from statistics import NormalDist

import numpy as np

from ledger import IterationRecord, now_us
from optimizers import REASONS, Reason
from shotwise.spec import AdaptAnsatz
from tasks.evaluate import Answer
from tasks.prepared import Prepared
from tasks.state import LoopState

_FALSE_GROWTH = 0.05
"""Probability that an ansatz grows where every derivative of its pool is zero."""


def advance(prepared: Prepared, state: LoopState, answer: Answer) -> tuple[LoopState, IterationRecord]:
    """The state after an iteration, and what the journal keeps of it."""
    spent = replace(
        state.with_sample(answer.sample),
        iteration=state.iteration + 1,
        shots=state.shots + answer.shots,
        evaluations=state.evaluations + answer.evaluations,
        cost_micro_usd=state.cost_micro_usd + answer.cost_micro_usd,
        group_variances=answer.group_variances,
        centre_group_variances=answer.centre_group_variances,
    )
    if state.piloting:
        return _pilot(spent, answer)
    return (_grow if state.growing else _tell)(prepared, spent, answer)


def _pilot(state: LoopState, answer: Answer) -> tuple[LoopState, IterationRecord]:
    """The pilot moves nothing: it learned the groups' variances, and what the start's energy is."""
    record = _record(
        state,
        answer,
        energy=float(answer.evaluation.values[0]),
        variance=float(answer.evaluation.variances[0]),
        gradient_norm=float("nan"),
        parameters=state.parameters,
    )
    return replace(
        state, piloting=False, pilot_shots=answer.shots, pilot_micro_usd=answer.cost_micro_usd
    ), record


def _tell(prepared: Prepared, state: LoopState, answer: Answer) -> tuple[LoopState, IterationRecord]:
    stage = prepared.stage(state.operators)
    points = stage.ask(state.optimizer)
    optimizer, termination, progress, code = stage.tell(state.optimizer, state.termination, answer.evaluation)
    reason = REASONS[int(code)] if int(code) else None
    parameters = np.asarray(progress.parameters)
    if len(points) == 1 and not np.array_equal(parameters, np.asarray(points)[0]):
        answer = replace(answer, fidelity=None)  # of a point that the optimizer refused, and not the record's
    record = _record(
        state,
        answer,
        energy=float(progress.energy),
        variance=float(progress.variance),
        gradient_norm=float(progress.gradient_norm),
        parameters=parameters,
    )
    if not prepared.sampled:
        state = _keep_best(state, np.asarray(points), np.asarray(answer.evaluation.values))
    moved = replace(state, optimizer=optimizer, termination=termination, parameters=parameters)
    return apply_termination(prepared, moved, reason), record


def apply_termination(prepared: Prepared, state: LoopState, reason: Reason | None) -> LoopState:
    """The state with the termination rule's verdict: an adaptive ansatz grows where others end."""
    ended = reason in (Reason.CONVERGED, Reason.PLATEAU, Reason.ITERATION_LIMIT)
    growing = ended and prepared.ansatz.pool is not None
    return replace(state, growing=growing, reason=None if growing else reason)


def _grow(prepared: Prepared, state: LoopState, answer: Answer) -> tuple[LoopState, IterationRecord]:
    """Append the operator of the pool whose gradient is largest, or end where all are small."""
    spec = prepared.spec.ansatz
    assert isinstance(spec, AdaptAnsatz)
    assert answer.evaluation.gradients is not None
    gradient = np.asarray(answer.evaluation.gradients)[0]
    variances = answer.evaluation.gradient_variances
    noise = _noise_of(gradient, None if variances is None else np.asarray(variances).reshape(gradient.shape))
    record = _record(
        state,
        answer,
        energy=float(answer.evaluation.values[0]),
        variance=float(answer.evaluation.variances[0]),
        gradient_norm=float(np.linalg.norm(gradient)),
        parameters=state.parameters,
    )
    if not np.all(np.isfinite(gradient)):
        return replace(state, reason=Reason.DIVERGED), record
    seen = np.where(np.abs(gradient) > noise, np.abs(gradient), 0.0)
    largest = int(np.argmax(seen))
    if seen[largest] <= spec.gradient_tolerance:
        return replace(state, reason=Reason.PLATEAU if prepared.sampled else Reason.CONVERGED), record
    if len(state.operators) >= spec.operators_max:
        return replace(state, reason=Reason.OPERATORS_LIMIT), record
    operators = (*state.operators, largest)
    parameters = np.append(state.parameters, 0.0)
    optimizer, termination = prepared.stage(operators).start(parameters, prepared.spec.seed)
    grown = replace(
        state,
        operators=operators,
        growing=False,
        optimizer=optimizer,
        termination=termination,
        parameters=parameters,
    )
    if not prepared.sampled:
        grown = replace(grown, best=(float(answer.evaluation.values[0]), parameters))
    return grown, record


def _noise_of(gradient: np.ndarray, variances: np.ndarray | None) -> np.ndarray:
    """What each derivative must exceed to be told from noise, all of the pool at once (Bonferroni)."""
    if variances is None:
        return np.zeros_like(gradient)
    quantile = NormalDist().inv_cdf(1.0 - _FALSE_GROWTH / (2 * len(gradient)))
    return quantile * np.sqrt(variances)


def _keep_best(state: LoopState, points: np.ndarray, values: np.ndarray) -> LoopState:
    finite = np.where(np.isfinite(values), values, np.inf)
    at = int(np.argmin(finite))
    if np.isfinite(finite[at]) and (state.best is None or finite[at] < state.best[0]):
        return replace(state, best=(float(finite[at]), points[at]))
    return state


def _record(
    state: LoopState,
    answer: Answer,
    *,
    energy: float,
    variance: float,
    gradient_norm: float,
    parameters: np.ndarray,
) -> IterationRecord:
    return IterationRecord(
        iteration=state.iteration - 1,
        at_us=now_us(),
        energy=energy,
        energy_std_error=float(np.sqrt(variance)),
        gradient_norm=gradient_norm if np.isfinite(gradient_norm) else None,
        fidelity=answer.fidelity,
        evaluations=answer.evaluations,
        shots=answer.shots,
        cost_micro_usd=answer.cost_micro_usd,
        parameters=parameters.astype("<f8").tobytes(),
    )
