"""Many exact iterations as one compiled call: the same optimizer and rule as outside, in a `while_loop`.

The loop's body is compiled for shapes alone, and how often it runs is an argument. So the bytes of a run
do not depend on where it is cut into calls, and a second run of the same shapes compiles nothing.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from backends.engines import Program
from backends.jax_device import JaxDevice, ground_of, program_of
from ledger import IterationRecord, now_us
from optimizers import REASONS, Evaluation, Need, Optimizer, Termination
from problems import FIXED, Circuit
from tasks.advance import apply_termination
from tasks.evaluate import CANDIDATES_EVERY, draw_candidates, points_of
from tasks.prepared import Prepared
from tasks.stage import tell
from tasks.state import LoopState

STEPS_MAX = 256
"""Iterations of one call, whose records it returns together."""


class Angles(NamedTuple):
    """Rotation angles as an affine function of the parameters, each array of shape (rows,)."""

    parameter: jax.Array
    scale: jax.Array
    offset: jax.Array

    def at(self, parameters: jax.Array) -> jax.Array:
        return self.scale * parameters[self.parameter] + self.offset

    def gradient(self, by_angle: jax.Array, parameters: jax.Array) -> jax.Array:
        """From derivatives by angle to derivatives by parameter."""
        return jnp.zeros_like(parameters).at[self.parameter].add(self.scale * by_angle)

    def jacobian(self, parameters: jax.Array) -> jax.Array:
        rows = jnp.arange(len(self.scale))
        return jnp.zeros((len(self.scale), len(parameters))).at[rows, self.parameter].add(self.scale)


class Records(NamedTuple):
    """What the journal keeps, one row an iteration; gradient norm and fidelity are nan where unknown."""

    energy: jax.Array
    variance: jax.Array
    gradient_norm: jax.Array
    fidelity: jax.Array
    parameters: jax.Array


class Loop(NamedTuple):
    """What the loop carries.

    Attributes:
        step: () iterations done in this call.
        optimizer, termination, code: as in `tasks.stage.StageUpdate`.
        energy, parameters: the lowest finite energy of the run so far, and where.
        records: those of this call.
    """

    step: jax.Array
    optimizer: Any
    termination: Any
    code: jax.Array
    energy: jax.Array
    parameters: jax.Array
    records: Records


def compiles(prepared: Prepared, state: LoopState) -> bool:
    """Whether the next iterations can run in one call: exact expectations, on an engine of our own."""
    ours = isinstance(prepared.device, JaxDevice) and prepared.tail is None
    return ours and not prepared.sampled and not state.growing


def iterate(prepared: Prepared, state: LoopState, steps: int) -> tuple[LoopState, list[IterationRecord]]:
    """At most `steps` iterations, fewer where the optimization ends, or candidates are due to be drawn.

    The records' times are spread evenly over the call.
    """
    stage = prepared.stage(state.operators)
    state, steps = _with_candidates(prepared, state, min(steps, STEPS_MAX))
    best_energy, best_parameters = state.best or (np.inf, np.zeros(stage.circuit.n_parameters))
    started_us = now_us()
    loop = _iterate(
        stage.optimizer,
        stage.termination,
        program_of(stage.circuit, prepared.problem.observable),
        _angles(stage.circuit, prepared),
        _ground(prepared, stage.circuit),
        (state.optimizer, state.termination),
        (best_energy, np.pad(best_parameters, (0, stage.capacity - len(best_parameters)))),
        steps,
    )
    done = int(loop.step)
    took_us = now_us() - started_us
    found = jax.tree.map(lambda column: np.asarray(column)[:done], loop.records)
    records = [
        IterationRecord(
            iteration=state.iteration + at,
            at_us=started_us + took_us * (at + 1) // done,
            energy=float(found.energy[at]),
            energy_std_error=float(np.sqrt(found.variance[at])),
            gradient_norm=_known(found.gradient_norm[at]),
            fidelity=_known(found.fidelity[at]),
            evaluations=stage.optimizer.points_per_ask,
            shots=0,
            cost_micro_usd=0,
            parameters=stage.used(found.parameters[at]).astype("<f8").tobytes(),
        )
        for at in range(done)
    ]
    lowest = float(loop.energy)
    state = replace(
        state,
        iteration=state.iteration + done,
        evaluations=state.evaluations + done * stage.optimizer.points_per_ask,
        optimizer=loop.optimizer,
        termination=loop.termination,
        parameters=stage.used(found.parameters[-1]),
        best=(lowest, stage.used(np.asarray(loop.parameters))) if np.isfinite(lowest) else state.best,
    )
    return apply_termination(prepared, state, REASONS[int(loop.code)]), records


def _known(value: jax.Array | np.floating) -> float | None:
    return float(value) if np.isfinite(value) else None


def _with_candidates(prepared: Prepared, state: LoopState, steps: int) -> tuple[LoopState, int]:
    """Draw the candidates that are due, as `answer_exactly` does, and end the call before the next are."""
    if not prepared.problem.observable.is_diagonal:
        return state, steps
    since = state.iteration % CANDIDATES_EVERY
    if since == 0:
        circuit = prepared.stage(state.operators).circuit
        first = points_of(prepared, state)[:1]
        state = state.with_sample(draw_candidates(prepared, circuit, first, state.iteration))
    return state, min(steps, CANDIDATES_EVERY - since)


@lru_cache(maxsize=4)
def _angles(circuit: Circuit, prepared: Prepared) -> Angles:
    unused = program_of(circuit, prepared.problem.observable).rows - len(circuit)
    fixed = circuit.parameter == FIXED
    columns = (np.where(fixed, 0, circuit.parameter), np.where(fixed, 0.0, circuit.scale), circuit.offset)
    return Angles(*(jnp.asarray(np.pad(column, (0, unused))) for column in columns))


def _ground(prepared: Prepared, circuit: Circuit) -> Any:
    reference = prepared.problem.reference
    if not prepared.fidelity_known or reference is None or reference.ground is None:
        return None
    return ground_of(circuit, prepared.problem.observable, reference.ground)


@partial(jax.jit, static_argnames=("optimizer", "termination"))
def _iterate(
    optimizer: Optimizer,
    termination: Termination,
    program: Program,
    angles: Angles,
    ground: Any,
    states: tuple[Any, Any],
    best: tuple[jax.Array, jax.Array],
    steps: jax.Array,
) -> Loop:
    def body(loop: Loop) -> Loop:
        points = optimizer.ask(loop.optimizer)
        around = points[0] if len(points) == 1 else optimizer.progress(loop.optimizer).parameters
        evaluation, fidelity = _evaluated(program, angles, ground, points, around, optimizer.need)
        moved, termination_state, progress, code = tell(
            optimizer, termination, loop.optimizer, loop.termination, evaluation
        )
        values = jnp.where(jnp.isfinite(evaluation.values), evaluation.values, jnp.inf)
        at = jnp.argmin(values)
        better = values[at] < loop.energy
        stands = (len(points) > 1) | jnp.array_equal(progress.parameters, around)
        row = Records(
            progress.energy,
            progress.variance,
            progress.gradient_norm,
            jnp.where(stands, fidelity, jnp.nan),  # of a point that the optimizer refused, and not the row's
            progress.parameters,
        )
        return Loop(
            loop.step + 1,
            moved,
            termination_state,
            code,
            jnp.where(better, values[at], loop.energy),
            jnp.where(better, points[at], loop.parameters),
            jax.tree.map(lambda column, value: column.at[loop.step].set(value), loop.records, row),
        )

    column = jnp.zeros(STEPS_MAX)
    records = Records(column, column, column, column, jnp.zeros((STEPS_MAX, best[1].shape[0])))
    zero = jnp.zeros((), jnp.int64)
    start = Loop(zero, *states, zero, jnp.asarray(best[0]), jnp.asarray(best[1]), records)
    return jax.lax.while_loop(lambda loop: (loop.step < steps) & (loop.code == 0), body, start)


def _evaluated(
    program: Program, angles: Angles, ground: Any, points: jax.Array, around: jax.Array, need: Need
) -> tuple[Evaluation, jax.Array]:
    """What the optimizer needs at its points, and the fidelity at `around` (nan without a ground space)."""
    unknown = jnp.full((), jnp.nan)
    if need is Need.VALUE:
        values = jax.lax.map(lambda point: program.energy(program.state(angles.at(point))), points)
        found = Evaluation(values, jnp.zeros(len(points)))
        if ground is None:
            return found, unknown
        return found, program.fidelity(program.state(angles.at(around)), ground)
    if len(points) != 1:
        raise ValueError("optimizers that need gradients ask for one point at a time")
    state = program.state(angles.at(around))
    energy, by_angle = program.gradient(state, angles.at(around))
    gradient = angles.gradient(by_angle, around)
    metric = program.metric(angles.at(around), angles.jacobian(around)) if need is Need.METRIC else None
    found = Evaluation(energy[None], jnp.zeros(1), gradient[None, :], None, metric)
    return found, unknown if ground is None else program.fidelity(state, ground)
