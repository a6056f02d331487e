from __future__ import annotations

import itertools

import numpy as np
import pytest

from problems.graphs import cut_terms, maxcut_problem
from problems.ising_model import IsingModel, bitstring
from problems.relaxation import descend, goemans_williamson
from shotwise.errors import CannotRunError
from shotwise.spec import ErdosRenyi, MaxCutSpec, RandomRegular


def random_model(n: int, seed: int) -> IsingModel:
    rng = np.random.default_rng(seed)
    couplings = np.triu(rng.standard_normal((n, n)) * (rng.random((n, n)) < 0.6), 1)
    fields = rng.standard_normal(n) * (rng.random(n) < 0.5)
    return IsingModel(couplings + couplings.T, fields, float(rng.standard_normal()))


def all_energies(model: IsingModel) -> np.ndarray:
    return model.energies(np.array(list(itertools.product((1.0, -1.0), repeat=model.n))))


@pytest.mark.parametrize("seed", range(8))
def test_the_bound_holds_and_the_answer_is_real(seed: int) -> None:
    model = random_model(9, seed)
    found, energies = goemans_williamson(model), all_energies(model)
    assert found.bound <= energies.min() + 1e-9
    assert energies.min() - 1e-9 <= found.energy
    assert model.energies(found.spins[None, :].astype(float))[0] == pytest.approx(found.energy)
    assert found.energy == pytest.approx(energies.min()), "local search finds the least of nine spins"


@pytest.mark.parametrize("nodes", [30, 100])
def test_cuts_reach_the_guarantee_of_the_relaxation(nodes: int) -> None:
    graph = ErdosRenyi(name="erdos_renyi", probability=0.2, nodes=nodes, seed=nodes)
    model = IsingModel.from_terms(*cut_terms(MaxCutSpec(kind="maxcut", generator=graph), 100))
    found = goemans_williamson(model)
    assert found.energy <= 0.87856 * found.bound, "both are minus a cut"


def test_descend_ends_where_no_flip_helps() -> None:
    model = random_model(12, 3)
    rows = np.random.default_rng(0).choice([-1.0, 1.0], size=(20, 12))
    ended = descend(model, rows)
    energies = model.energies(ended)
    assert np.all(energies <= model.energies(rows) + 1e-12)
    for at in range(12):
        flipped = ended.copy()
        flipped[:, at] *= -1
        assert np.all(model.energies(flipped) >= energies - 1e-9)


def test_a_cut_has_its_baseline_and_a_large_one_takes_it_as_reference() -> None:
    small = RandomRegular(name="random_regular", degree=3, nodes=12, seed=1)
    problem = maxcut_problem(MaxCutSpec(kind="maxcut", generator=small))
    assert problem.baseline is not None
    assert problem.reference is not None
    assert problem.reference.method == "brute force"
    assert problem.baseline.energy >= problem.reference.energy - 1e-9
    with pytest.raises(CannotRunError, match="more than 62 qubits"):
        maxcut_problem(MaxCutSpec(kind="maxcut", generator=small.model_copy(update={"nodes": 64})))


def test_a_model_is_its_terms() -> None:
    model = IsingModel.from_terms(70, {0: 2.0, 1 << 69: 0.5, 1 << 69 | 1: -1.5})
    spins = np.ones((1, 70))
    assert model.energies(spins)[0] == pytest.approx(1.0)
    spins[0, 69] = -1
    assert model.energies(spins)[0] == pytest.approx(2.0 - 0.5 + 1.5)
    assert bitstring(spins[0]) == "0" * 69 + "1"
    with pytest.raises(ValueError, match="more than two"):
        IsingModel.from_terms(3, {7: 1.0})
