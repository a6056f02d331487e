"""The contract of every optimizer: immutable state, moved only by the pure functions `ask` and `tell`.

An optimizer never evaluates anything. It says at which points it wants what (`ask`, `need`) and is told the
answer, exact or sampled; who answers, where and at what price is not its business:

    state = optimizer.init(x0, key)
    while True:
        state = optimizer.tell(state, evaluate(optimizer.ask(state), optimizer.need))

Conventions that hold for every optimizer:

* energies are minimised; parameters are float64 angles in radians, shape (d,);
* a state is a pytree of plain arrays whose structure, shapes and dtypes never change, so that
  ``jax.tree.unflatten(jax.tree.structure(optimizer.init(x0, key)), leaves)`` restores it from JAX arrays;
* every method is pure and can be traced by `jax.jit` and `jax.lax.while_loop`;
* random numbers come from ``fold_in(key, iteration)``: asking twice gives the same points.
"""

from __future__ import annotations

import abc
import enum
from typing import ClassVar, Generic, NamedTuple, Protocol, TypeVar

import jax
import jax.numpy as jnp

ROUNDING = 8 * 2.0**-52
"""Relative error of an exact energy, below which two energies cannot be told apart."""


class Need(enum.StrEnum):
    """What an optimizer wants to know at each point that it asks for."""

    VALUE = "value"
    """The energy."""

    GRADIENT = "gradient"
    """The energy and its gradient."""

    METRIC = "metric"
    """The energy, its gradient, and the Fubini-Study metric at the first point."""


class Evaluation(NamedTuple):
    """What was found at the P points of one `ask`, in their order. Exact answers have variance zero.

    Attributes:
        values: (P,) energies.
        variances: (P,) variances of those means (squared standard errors), not of single shots.
        gradients: (P, d) energy per radian; None unless asked for.
        gradient_variances: (P, d) squared standard errors of the gradients, or None.
        metric: (d, d) Fubini-Study metric Re[<di|dj> - <di|psi><psi|dj>] at the first point, which is
            1/4 for one rotation exp(-i angle/2 P) and a quarter of the quantum Fisher information; or None.
        shots: what `Optimizer.shots` asked for, as it was run; None where the optimizer asks for none.
    """

    values: jax.Array
    variances: jax.Array
    gradients: jax.Array | None = None
    gradient_variances: jax.Array | None = None
    metric: jax.Array | None = None
    shots: jax.Array | None = None


class Progress(NamedTuple):
    """Where an optimizer stands after its last `tell`.

    Attributes:
        parameters: (d,) current best guess, the point that `energy` belongs to.
        energy: () its energy, as measured or fitted; nan before the first `tell`.
        variance: () squared standard error of `energy`.
        gradient_norm: () Euclidean norm of the gradient there; nan where unknown.
        moved: () bool; False where the last `tell` brought no new guess (a rejected trial step), so that
            an unchanged energy says nothing about convergence.
        stalled: () bool; True where the optimizer knows of no further step that would lower the energy.
    """

    parameters: jax.Array
    energy: jax.Array
    variance: jax.Array
    gradient_norm: jax.Array
    moved: jax.Array
    stalled: jax.Array

    @classmethod
    def start(cls, x0: jax.Array) -> Progress:
        """Progress before the first `tell`."""
        nan = jnp.full((), jnp.nan, jnp.float64)
        no = jnp.zeros((), jnp.bool_)
        return cls(x0, nan, nan, nan, no, no)

    @classmethod
    def at(
        cls,
        parameters: jax.Array,
        energy: jax.Array,
        variance: jax.Array,
        *,
        gradient: jax.Array | None = None,
        moved: jax.Array | bool = True,
        stalled: jax.Array | bool = False,
    ) -> Progress:
        """Progress at a point; the gradient, where known, enters by its norm."""
        norm = jnp.full((), jnp.nan, jnp.float64) if gradient is None else jnp.linalg.norm(gradient)
        return cls(
            parameters,
            jnp.asarray(energy, jnp.float64),
            jnp.asarray(variance, jnp.float64),
            norm,
            jnp.asarray(moved, jnp.bool_),
            jnp.asarray(stalled, jnp.bool_),
        )


class State(Protocol):
    """What the states of all optimizers have in common."""

    @property
    def iteration(self) -> jax.Array:
        """() int64, number of `tell`s so far."""
        ...

    @property
    def last(self) -> Progress:
        """Progress of the last `tell`."""
        ...


S = TypeVar("S", bound=State)


class Optimizer(abc.ABC, Generic[S]):
    """Abstract base; subclasses are final frozen dataclasses that hold settings only.

    Attributes:
        need: what to evaluate, the same for every `ask`.
    """

    need: ClassVar[Need]

    @property
    @abc.abstractmethod
    def points_per_ask(self) -> int:
        """P, the number of points of every `ask`."""

    @property
    @abc.abstractmethod
    def sweep(self) -> int:
        """Asks that make one pass over all parameters: 1, or d where one coordinate moves at a time."""

    @abc.abstractmethod
    def init(self, x0: jax.Array, key: jax.Array) -> S:
        """The state at parameters `x0` (d,) with the raw random key `key` (as of `jax.random.PRNGKey`)."""

    @abc.abstractmethod
    def ask(self, state: S) -> jax.Array:
        """The points to evaluate next, (P, d) float64."""

    @abc.abstractmethod
    def tell(self, state: S, evaluation: Evaluation) -> S:
        """The state after the points of `ask(state)` were evaluated."""

    def shots(self, state: S) -> jax.Array | None:
        """How many shots the points of `ask(state)` shall get; None where any number will do.

        Shape (P,) where values are needed; (P, 1 + d) where gradients are: the energy's, then each
        derivative's. A wish: who runs them may round up, and says in `Evaluation.shots` what was run. A point
        with a wish of 0 is not run, where values are needed; its value is then 0 and means nothing.
        """
        return None

    def progress(self, state: S) -> Progress:
        """Where the optimizer stands after its last `tell`."""
        return state.last


def start_point(x0: jax.Array) -> jax.Array:
    """Parameters as every state holds them: strongly typed float64, shape (d,)."""
    x0 = jnp.asarray(x0, jnp.float64)
    if x0.ndim != 1:
        raise ValueError(f"parameters must have shape (d,), got {x0.shape}")
    return x0


def count(start: int = 0) -> jax.Array:
    """A counter as every state holds it: () int64."""
    return jnp.full((), start, jnp.int64)


def gradient_at_first(evaluation: Evaluation) -> jax.Array:
    """The (d,) gradient at the first point; a ValueError where the evaluation has none."""
    if evaluation.gradients is None:
        raise ValueError("this optimizer needs gradients, the evaluation has none")
    return jnp.asarray(evaluation.gradients, jnp.float64)[0]
