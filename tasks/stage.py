"""A circuit with the optimizer that moves its parameters, and what is compiled for the two."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from typing import NamedTuple, TypeVar

import jax
import numpy as np

from measurement import ShiftRule
from optimizers import (
    Evaluation,
    Frequencies,
    Need,
    Optimizer,
    Progress,
    Sampling,
    State,
    Termination,
    TerminationState,
    build_optimizer,
    build_termination,
    needs_spectrum,
)
from problems import Circuit, spectrum
from shotwise.rng import Purpose, stream
from shotwise.spec import OptimizerSpec

Parameters = TypeVar("Parameters", np.ndarray, jax.Array)


class StageUpdate(NamedTuple):
    """What follows from an evaluation.

    Attributes:
        optimizer, termination: their next states.
        progress: where the optimizer stands.
        code: () key of `optimizers.REASONS`, 0 while the optimization goes on.
    """

    optimizer: State
    termination: TerminationState
    progress: Progress
    code: jax.Array


@dataclass(frozen=True, eq=False)
class Stage:
    """A circuit with the optimizer that moves its parameters. A fixed ansatz has one stage.

    The optimizer of an adaptive ansatz moves `capacity` parameters, of which the last ones have no effect:
    its shapes stay the same while the circuit grows, so nothing compiles anew.
    """

    circuit: Circuit
    optimizer: Optimizer
    termination: Termination
    capacity: int

    @cached_property
    def shift_rule(self) -> ShiftRule:
        return ShiftRule.of(self.circuit)

    @property
    def energies_per_iteration(self) -> int:
        """Energy evaluations of one sampled iteration, parameter shifts included."""
        points = self.optimizer.points_per_ask
        return points if self.optimizer.need is Need.VALUE else points * (1 + len(self.shift_rule))

    @cached_property
    def shots(self) -> Callable[[State], jax.Array | None]:
        """The shots that the optimizer wants for the points of `ask` in a state, as `Optimizer.shots`."""
        return jax.jit(self.optimizer.shots)

    def ask(self, optimizer_state: State) -> jax.Array:
        """The points to evaluate next, shape (P, d): P of the optimizer, d parameters of the circuit."""
        return _ask(self.optimizer, optimizer_state)[:, : self.circuit.n_parameters]

    def tell(
        self, optimizer_state: State, termination_state: TerminationState, evaluation: Evaluation
    ) -> StageUpdate:
        """What follows from an evaluation of those points: gradients of shape (P, d), metric (d, d).

        The progress has (d,) parameters; the states have `capacity` of them, whatever the circuit has.
        """
        unused = self.capacity - self.circuit.n_parameters
        padded = _padded(evaluation, unused) if unused else evaluation
        found = _tell(self.optimizer, self.termination, optimizer_state, termination_state, padded)
        used = found.progress._replace(parameters=self.used(found.progress.parameters))
        return found._replace(progress=used)

    def used(self, parameters: Parameters) -> Parameters:
        """Of the optimizer's parameters (capacity,), those that the circuit has (d,)."""
        return parameters[: self.circuit.n_parameters]

    def start(self, parameters: np.ndarray, seed: int) -> tuple[State, TerminationState]:
        """The optimizer's and the termination rule's states at `parameters`, shape (d,), of a run's seed."""
        padded = np.pad(parameters, (0, self.capacity - len(parameters)))
        entropy = int(stream(seed, Purpose.OPTIMIZER).integers(2**31))
        return _start(self.optimizer, self.termination, padded, entropy)


@partial(jax.jit, static_argnames=("optimizer", "termination"))
def _start(optimizer: Optimizer, termination: Termination, parameters, seed):
    return optimizer.init(parameters, jax.random.PRNGKey(seed)), termination.init()


@partial(jax.jit, static_argnames="optimizer")
def _ask(optimizer: Optimizer, state):
    return optimizer.ask(state)


@partial(jax.jit, static_argnames=("optimizer", "termination"))
def _tell(
    optimizer: Optimizer, termination: Termination, state, termination_state, evaluation: Evaluation
) -> StageUpdate:
    return tell(optimizer, termination, state, termination_state, evaluation)


def tell(
    optimizer: Optimizer,
    termination: Termination,
    state: State,
    termination_state: TerminationState,
    evaluation: Evaluation,
) -> StageUpdate:
    """Tell both what was found at the points of `optimizer.ask(state)`; traceable."""
    state = optimizer.tell(state, evaluation)
    progress = optimizer.progress(state)
    termination_state = termination.update(termination_state, progress)
    return StageUpdate(state, termination_state, progress, termination.code(termination_state))


def _padded(evaluation: Evaluation, unused: int) -> Evaluation:
    """The same with zeros for parameters that the circuit does not have."""

    def pad(array, rows: int):
        return None if array is None else jax.numpy.pad(array, ((0, rows), (0, unused)))

    return evaluation._replace(
        gradients=pad(evaluation.gradients, 0),
        gradient_variances=pad(evaluation.gradient_variances, 0),
        metric=pad(evaluation.metric, unused),
    )


def build_stage(
    circuit: Circuit,
    spec: OptimizerSpec,
    *,
    sampling: Sampling | None = None,
    parameters_max: int | None = None,
) -> Stage:
    """The stage of a circuit.

    Args:
        spec: with a name that is not `auto`.
        sampling: what an optimizer is told of sampled energies; None where they are exact.
        parameters_max: of an ansatz that grows and is to keep its shapes, those that it can have at most.
    """
    frequencies = None
    if needs_spectrum(spec.name):
        frequencies = tuple(Frequencies(*pair) for pair in spectrum(circuit))
    optimizer, termination = _optimizer_and_termination(spec.model_dump_json(), frequencies, sampling)
    capacity = circuit.n_parameters if parameters_max is None or frequencies is not None else parameters_max
    return Stage(circuit, optimizer, termination, capacity)


@lru_cache(maxsize=16)
def _optimizer_and_termination(
    spec_json: str, frequencies: tuple[Frequencies, ...] | None, sampling: Sampling | None
) -> tuple[Optimizer, Termination]:
    """One pair for all stages and runs that can share it: what is compiled for one serves the next."""
    spec = OptimizerSpec.model_validate_json(spec_json)
    optimizer = build_optimizer(spec, frequencies, sampling)
    return optimizer, build_termination(spec, optimizer)
