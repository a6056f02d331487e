"""From Hartree-Fock the default under adaptive shots needs two points a double, and those tell all."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optimizers import BayesNewton, Evaluation
from shotwise.spec import validate
from tasks.evaluate import exact_energies, plan_iteration, points_of
from tasks.prepare import prepare
from tasks.prepared import Prepared
from tasks.state import initial

jax.config.update("jax_enable_x64", True)
H3_PLUS = {"kind": "molecule", "geometry": "H 0 0 0; H 0 0 0.9; H 0 0 1.8", "charge": 1}


def prepared_for(ansatz: dict) -> Prepared:
    raw = {
        "problem": H3_PLUS,
        "ansatz": ansatz,
        "optimizer": {"name": "bayes_newton"},
        "execution": {"mode": "shots", "policy": "adaptive"},
    }
    return prepare(validate(raw))


def found_start(prepared: Prepared):
    return initial(prepared).optimizer


def told_exactly(prepared: Prepared) -> tuple[BayesNewton, object, np.ndarray]:
    """The optimizer, its state after one iteration of exact energies, and the points that were asked for."""
    state, stage = initial(prepared), prepared.stage()
    optimizer = stage.optimizer
    assert isinstance(optimizer, BayesNewton)
    points, wish = points_of(prepared, state), np.asarray(stage.shots(state.optimizer))
    asked = wish > 0
    values = np.where(asked, exact_energies(prepared, stage.circuit, points), 0.0)
    noise = np.where(asked, 1e-12, 0.0)
    evaluation = Evaluation(jnp.asarray(values), jnp.asarray(noise), shots=jnp.asarray(wish))
    return optimizer, jax.jit(optimizer.tell)(state.optimizer, evaluation), asked


def test_two_points_a_parameter_give_slopes_and_curvatures_at_hartree_fock() -> None:
    prepared = prepared_for({"kind": "uccsd"})
    circuit = prepared.stage().circuit
    d = circuit.n_parameters
    optimizer, told, asked = told_exactly(prepared)
    assert optimizer.from_determinant
    singles = np.bitwise_count(circuit.x) == 2
    assert singles.any()
    assert optimizer.flat == tuple(np.sort(circuit.parameter[singles]))
    doubles = np.setdiff1d(np.arange(d), optimizer.flat)
    assert (asked.sum(), len(asked)) == (1 + 2 * len(doubles), 1 + 4 * d)
    step = 1e-3
    around = np.concatenate([np.zeros((1, d)), np.eye(d) * step, -np.eye(d) * step])
    energies = exact_energies(prepared, circuit, around)
    plus, minus = energies[1:].reshape(2, d)
    found = told._asdict()  # pyright: ignore[reportAttributeAccessIssue]
    np.testing.assert_allclose(found["gradients"][0], (plus - minus) / (2 * step), atol=1e-6)
    design = optimizer._design
    shifted = exact_energies(prepared, circuit, np.asarray(optimizer.ask(found_start(prepared))))
    curvatures = design.first.centre * shifted[0]
    np.add.at(curvatures, design.coordinate, design.first.curvature * shifted[1:])
    expected = (plus + minus - 2 * energies[0]) / step**2
    np.testing.assert_allclose(curvatures[doubles], expected[doubles], atol=1e-4)
    state = initial(prepared)
    plan = plan_iteration(prepared, state)
    assert len(plan.angles) == 1 + 2 * len(doubles)
    later = np.asarray(prepared.stage().shots(told))  # pyright: ignore[reportArgumentType]
    assert np.all(later > 0), "away from the determinant all four count"


def test_an_open_shell_measures_its_singles_too() -> None:
    radical = {"kind": "molecule", "geometry": "H 0 0 0; H 0 0 0.9; H 0 0 1.8", "spin": 1}
    raw = {
        "problem": radical,
        "ansatz": {"kind": "uccsd"},
        "optimizer": {"name": "bayes_newton"},
        "execution": {"mode": "shots", "policy": "adaptive"},
    }
    optimizer = prepare(validate(raw)).stage().optimizer
    assert isinstance(optimizer, BayesNewton)
    assert optimizer.from_determinant
    assert not optimizer.flat


@pytest.mark.parametrize(
    "ansatz",
    [
        {"kind": "uccsd", "start": "mp2"},
        {"kind": "hardware_efficient", "layers": 1},
        {"kind": "kupccgsd", "k": 2},
    ],
)
def test_elsewhere_all_points_are_measured(ansatz: dict) -> None:
    prepared = prepared_for(ansatz)
    optimizer, _, asked = told_exactly(prepared)
    assert not optimizer.from_determinant
    assert asked.all()
