"""Every reason for which a run ends, reached by the progress that means it."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optimizers import REASONS, Progress, Reason, Termination, TerminationState

X = jnp.zeros(2)
update = jax.jit(Termination.update, static_argnums=0)
start = jax.jit(Termination.init, static_argnums=0)


@partial(jax.jit, static_argnums=0)
def told(rule: Termination, state: TerminationState, energy: float, variance: float) -> TerminationState:
    """The state after one more energy."""
    return rule.update(state, Progress.at(X, jnp.asarray(energy), jnp.asarray(variance)))


def end(rule: Termination, energies: Iterable[float], variance: float = 0.0) -> tuple[Reason | None, int]:
    """Feed energies until the rule ends the run: the reason and the tells it took."""
    state = start(rule)
    for energy in energies:
        state = told(rule, state, energy, variance)
        if rule.reason(state) is not None:
            break
    return rule.reason(state), int(state.iteration)


def falling(step: float, n: int) -> list[float]:
    return [-step * i for i in range(n)]


def test_codes_and_advice():
    assert REASONS[0] is None
    assert set(REASONS[1:]) == set(Reason)
    assert [r.value for r in Reason] == [r.name.lower() for r in Reason]
    for reason in Reason:
        assert reason.advice.endswith(".")
        assert "\n" not in reason.advice


def test_goes_on_while_the_energy_falls():
    assert end(Termination(1000, 1e-7), falling(1e-3, 300)) == (None, 300)


def test_iteration_limit():
    assert end(Termination(17, 1e-7), falling(1e-3, 300)) == (Reason.ITERATION_LIMIT, 17)


def test_converged_after_five_quiet_tells():
    energies = [*falling(1e-3, 30), *[-1.0] * 20]
    assert end(Termination(1000, 1e-7), energies) == (Reason.CONVERGED, 36)


def test_a_single_change_starts_the_count_again():
    energies = [1.0, 1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5]
    assert end(Termination(1000, 1e-7), energies) == (Reason.CONVERGED, 11)


def test_a_coordinate_method_must_be_quiet_for_whole_sweeps():
    assert end(Termination(1000, 1e-7, sweep=4, quiet_sweeps=2), [1.0] * 50) == (Reason.CONVERGED, 9)


def test_tolerance_zero_still_knows_rounding():
    wobble = [-7.88 + 4e-16 * (i % 3) for i in range(40)]
    assert end(Termination(1000, 0.0), wobble) == (Reason.CONVERGED, 6)


def test_an_equal_energy_under_noise_is_not_convergence():
    assert end(Termination(1000, 1e-7, patience=10), [1.0] * 50, variance=1e-4) == (Reason.PLATEAU, 20)


def test_plateau_under_noise_at_the_standard_error():
    """Halves of 10 samples, each of standard error 0.1: their means differ by sqrt(2/10)/10 = 0.0447."""
    rule = Termination(40, 1e-7, patience=10)
    assert end(rule, falling(0.00442, 100), variance=0.01) == (Reason.PLATEAU, 20)
    assert end(rule, falling(0.00452, 100), variance=0.01) == (Reason.ITERATION_LIMIT, 40)


def test_plateau_without_noise_needs_no_fall_beyond_the_tolerance():
    oscillating = [(-1.0) ** i for i in range(200)]
    assert end(Termination(1000, 1e-7, patience=10), oscillating) == (Reason.PLATEAU, 20)
    assert end(Termination(1000, 1e-7), falling(-1.0, 200)) == (Reason.PLATEAU, 50)


def test_the_ring_forgets():
    energies = [*falling(1.0, 60), *[-60.0 + (-1.0) ** i for i in range(200)]]
    reason, tells = end(Termination(1000, 1e-7), energies)
    assert reason is Reason.PLATEAU
    assert 85 < tells <= 110


def test_a_coordinate_method_is_sampled_once_a_sweep():
    within_sweeps = [float(i % 3) for i in range(300)]
    assert end(Termination(1000, 1e-7, sweep=3, patience=5), within_sweeps) == (Reason.PLATEAU, 30)
    assert Termination(1000, 1e-7, sweep=500).init().energies.shape == (50,)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_diverged(bad):
    rule = Termination(1, 1e-7)
    good = Progress.at(X, jnp.asarray(0.0), jnp.asarray(0.0))
    bad_ones = (
        good._replace(energy=jnp.asarray(bad)),
        good._replace(variance=jnp.asarray(bad)),
        good._replace(parameters=jnp.array([0.0, bad])),
    )
    assert rule.reason(update(rule, start(rule), good)) is Reason.ITERATION_LIMIT
    for progress in bad_ones:
        assert rule.reason(update(rule, start(rule), progress)) is Reason.DIVERGED


def test_tells_that_did_not_move_count_towards_the_limit_only():
    rule = Termination(30, 1e-7, patience=3)
    still = Progress.at(X, jnp.asarray(1.0), jnp.asarray(0.0), moved=False)
    state = start(rule)
    for _ in range(29):
        state = update(rule, state, still)
        assert rule.reason(state) is None
    assert rule.reason(update(rule, state, still)) is Reason.ITERATION_LIMIT


def test_stalled_means_converged_only_at_a_tiny_gradient_without_noise():
    rule = Termination(100, 1e-7)

    def verdict(slope: float, variance: float) -> Reason | None:
        stalled = Progress.at(
            X,
            jnp.asarray(0.0),
            jnp.asarray(variance),
            gradient=jnp.array([slope, 0.0]),
            moved=False,
            stalled=True,
        )
        return rule.reason(update(rule, start(rule), stalled))

    assert verdict(1e-4, 0.0) is Reason.CONVERGED
    assert verdict(1e-2, 0.0) is Reason.PLATEAU
    assert verdict(1e-4, 1e-6) is Reason.PLATEAU


def test_the_state_keeps_its_types():
    rule = Termination(100, 1e-7)
    before = start(rule)
    state = update(rule, before, Progress.at(X, jnp.asarray(0.0), jnp.asarray(0.0)))
    for a, b in zip(jax.tree.leaves(state), jax.tree.leaves(before), strict=True):
        assert (a.shape, a.dtype, a.weak_type) == (b.shape, b.dtype, b.weak_type)
    assert int(rule.code(state)) == 0


@pytest.mark.parametrize(
    "arguments",
    [
        {"max_iterations": 0},
        {"sweep": 0},
        {"quiet_sweeps": 0},
        {"patience": 0},
        {"patience": 201},
        {"tolerance": -1.0},
        {"tolerance": float("nan")},
    ],
)
def test_impossible_rules_are_refused(arguments):
    with pytest.raises(ValueError, match="must"):
        Termination(**({"max_iterations": 10, "tolerance": 1e-7} | arguments))
