"""How the learning rate moves over a run: `ScheduleSpec` as Optax schedules."""

from __future__ import annotations

import optax

from shotwise.errors import SpecError
from shotwise.spec.run import ScheduleSpec


def build_learning_rate(
    schedule: ScheduleSpec, learning_rate: float, max_iterations: int
) -> float | optax.Schedule:
    """The learning rate, or an Optax schedule of it as a function of the iteration counted from 0.

    With rate L, iterations N, end value e, progress s = t/N:

    * constant: L;
    * exponential_decay: max(L * decay_rate^s, e), so that the run ends at ``decay_rate * L``;
    * cosine_decay: e + (L - e)(1 + cos pi s)/2 (arXiv:1608.03983, eq. 5, without restarts);
    * linear: L + (e - L) s;
    * warmup_cosine: linear from L/w up to L in w = `warmup_iterations`, cosine_decay over the rest.

    Raises:
        SpecError: `end_value` above the learning rate, or a warmup as long as the run.
    """
    if schedule.kind == "constant":
        return learning_rate
    if schedule.end_value > learning_rate:
        raise SpecError(
            "optimizer.schedule.end_value",
            schedule.end_value,
            "above the learning rate",
            f"give at most optimizer.learning_rate, {learning_rate:g}",
        )
    if schedule.kind == "exponential_decay":
        if schedule.decay_rate == 1.0:
            return learning_rate  # Optax would read end_value as an upper bound here
        return optax.exponential_decay(
            learning_rate, max_iterations, schedule.decay_rate, end_value=schedule.end_value
        )
    if schedule.kind == "cosine_decay":
        return optax.cosine_decay_schedule(
            learning_rate, max_iterations, alpha=schedule.end_value / learning_rate
        )
    if schedule.kind == "linear":
        return optax.linear_schedule(learning_rate, schedule.end_value, max_iterations)
    if schedule.warmup_iterations >= max_iterations:
        raise SpecError(
            "optimizer.schedule.warmup_iterations",
            schedule.warmup_iterations,
            "the warmup takes the whole run",
            f"give less than optimizer.max_iterations, {max_iterations}",
        )
    # From L/w, not 0: a first step of zero would spend an evaluation on the same point twice.
    return optax.warmup_cosine_decay_schedule(
        learning_rate / schedule.warmup_iterations,
        learning_rate,
        schedule.warmup_iterations,
        max_iterations,
        end_value=schedule.end_value,
    )
