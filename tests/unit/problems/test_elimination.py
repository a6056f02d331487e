from __future__ import annotations

import itertools

import numpy as np
import pytest

from problems.elimination import ALONE, Elimination, Step
from problems.graphs import cut_terms
from problems.ising_model import IsingModel
from problems.one_layer import OneLayer
from problems.relaxation import goemans_williamson
from shotwise.spec import MaxCutSpec, RandomRegular


def random_model(n: int, seed: int, *, fields: bool = True) -> IsingModel:
    rng = np.random.default_rng(seed)
    couplings = np.triu(rng.standard_normal((n, n)) * (rng.random((n, n)) < 0.6), 1)
    field = rng.standard_normal(n) * (rng.random(n) < 0.7) if fields else np.zeros(n)
    return IsingModel(couplings + couplings.T, field, 0.3)


def one_layer_distribution(model: IsingModel, gamma: float, beta: float) -> tuple[np.ndarray, np.ndarray]:
    """(spins of every basis state, its probability), by applying the two exponentials."""
    states = np.arange(1 << model.n)
    spins = 1.0 - 2.0 * (states[:, None] >> np.arange(model.n) & 1)
    psi = np.exp(-1j * gamma * model.energies(spins)) / np.sqrt(len(states))
    for q in range(model.n):
        psi = np.cos(beta) * psi - 1j * np.sin(beta) * psi[states ^ (1 << q)]
    return spins, np.abs(psi) ** 2


@pytest.mark.parametrize("seed", range(5))
def test_the_closed_form_is_the_state(seed: int) -> None:
    model, (gamma, beta) = random_model(6, seed), np.random.default_rng(seed).uniform(-2, 2, 2)
    spins, weights = one_layer_distribution(model, gamma, beta)
    layer = OneLayer(model)
    zz, z = layer.correlations(gamma, beta)
    i, j = layer.pairs
    np.testing.assert_allclose(z, weights @ spins, atol=1e-12)
    np.testing.assert_allclose(zz, weights @ (spins[:, i] * spins[:, j]), atol=1e-12)
    assert layer.energy(gamma, beta) == pytest.approx(weights @ model.energies(spins))


@pytest.mark.parametrize("fields", [True, False])
def test_the_best_angles_beat_a_fine_grid(fields: bool) -> None:
    model = random_model(7, 4, fields=fields)
    layer = OneLayer(model)
    found = layer.energy(*layer.best_angles())
    grid = [
        layer.energy(gamma, beta)
        for gamma in np.linspace(0, 1.5, 60)
        for beta in np.linspace(-1.57, 1.57, 60)
    ]
    assert found <= min(grid) + 1e-6


@pytest.mark.parametrize("step", [Step(2, 4, -1), Step(4, 2, 1), Step(ALONE, 3, -1)])
def test_a_step_leaves_the_energy_of_the_spins_that_obey_it(step: Step) -> None:
    model = random_model(6, 9)
    left = Elimination.of(model).take(step)
    for rest in itertools.product((1.0, -1.0), repeat=5):
        spins = np.zeros(6)
        spins[left.spins] = rest
        spins[step.drop] = step.sign * (1 if step.keep == ALONE else spins[step.keep])
        assert left.model.energies(np.array([rest]))[0] == pytest.approx(model.energies(spins[None, :])[0])


def solve(model: IsingModel, cutoff: int, seed: int) -> np.ndarray:
    state, rng = Elimination.of(model), np.random.default_rng(seed)
    while state.model.n > cutoff:
        state = state.take(state.choose(*OneLayer(state.model).best_angles(), rng))
    return state.solution()


def test_without_eliminations_the_solution_is_the_minimum() -> None:
    model = random_model(8, 2)
    spins = np.array(list(itertools.product((1.0, -1.0), repeat=8)))
    assert model.energies(solve(model, 8, 0)[None, :].astype(float))[0] == model.energies(spins).min()


@pytest.mark.parametrize("cutoff", [10, 35], ids=["to its end", "cut short"])
def test_large_cuts_come_close_to_goemans_williamson(cutoff: int) -> None:
    graph = RandomRegular(name="random_regular", degree=3, nodes=40, seed=2)
    model = IsingModel.from_terms(*cut_terms(MaxCutSpec(kind="maxcut", generator=graph), 100))
    spins = solve(model, cutoff, 0)
    assert set(spins.tolist()) == {1, -1}
    assert model.energies(spins[None, :].astype(float))[0] <= 0.95 * goemans_williamson(model).energy
    assert np.array_equal(spins, solve(model, cutoff, 0))


def test_spins_that_nothing_couples_are_solved_too() -> None:
    model = IsingModel.from_terms(6, {0b11: 1.0, 0: 2.0})
    spins = solve(model, 2, 0)
    assert model.energies(spins[None, :].astype(float))[0] == pytest.approx(1.0)
