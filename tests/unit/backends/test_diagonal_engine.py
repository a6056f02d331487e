"""The diagonal engine against lightning and the general engine: same answers, half the state."""

from functools import partial

import jax
import numpy as np
import pytest

from backends import open_device
from backends.engines import layers
from backends.engines.blocks import apply_and_pair, apply_product, walsh_hadamard
from backends.engines.compiled import Kernels
from backends.engines.diagonal import DiagonalEngine, DiagonalProgram
from backends.engines.general import GeneralEngine
from backends.jax_device import engine_of
from problems.circuit import Circuit, Rotation
from problems.pauli import PauliSum
from problems.qaoa import qaoa_circuit

LAYERS = 2
COMPILED = pytest.mark.skipif(
    not layers.available(layers.HELD_MIN, np.dtype(float)), reason="no C compiler here: XLA does the work"
)


def ring(n: int, *, field: bool = False) -> PauliSum:
    """A ring with random weights; a field breaks the flip symmetry."""
    rng = np.random.default_rng(n)
    terms = {(0, (1 << q) | (1 << (q + 1) % n)): float(rng.normal()) for q in range(n)}
    return PauliSum.from_terms(n, {(0, 0): 0.7, **terms, **({(0, 1): 0.3} if field else {})})


def unweighted(n: int) -> PauliSum:
    return PauliSum.from_terms(n, {(0, (1 << q) | (1 << (q + 1) % n)): 0.5 for q in range(n)})


def rotations_by(half: np.ndarray) -> np.ndarray:
    """RY matrices by half of each angle, shape (n, 2, 2)."""
    cosine, sine = np.cos(half), np.sin(half)
    return np.stack([cosine, -sine, sine, cosine], axis=-1).reshape(-1, 2, 2)


@jax.jit
def value_and_gradient(program: DiagonalProgram, angles: jax.Array) -> tuple[jax.Array, jax.Array]:
    return program.gradient(program.state(angles), angles)


# even and odd halves, one block and several, both layouts, a table of levels and a full diagonal
@pytest.mark.parametrize(
    ("cost", "halved"),
    [(ring(5), True), (ring(8), True), (ring(7, field=True), False), (unweighted(12), True)],
    ids=["odd", "even", "field", "levels"],
)
@pytest.mark.parametrize("shared", [True, False], ids=["shared", "separate"])
def test_agrees_with_lightning(cost: PauliSum, halved: bool, shared: bool) -> None:
    circuit = qaoa_circuit(cost, LAYERS)
    rng = np.random.default_rng(1)
    angles = (
        circuit.angles(rng.normal(size=(1, 2 * LAYERS))) if shared else rng.normal(size=(1, len(circuit)))
    )
    program = DiagonalEngine().program(circuit, cost)
    assert program.halved is halved
    energy, gradient = value_and_gradient(program, angles[0])
    expected = open_device("lightning").expectation(circuit, cost, angles, gradient=True)
    assert expected.gradients is not None
    np.testing.assert_allclose(energy, expected.values[0], atol=1e-10)
    np.testing.assert_allclose(gradient, expected.gradients[0], atol=1e-10)


def test_device_chooses_it_for_qaoa_and_samples_both_halves() -> None:
    cost = unweighted(6)
    circuit = qaoa_circuit(cost, 1)
    assert isinstance(engine_of(circuit, cost), DiagonalEngine)
    assert isinstance(engine_of(circuit, PauliSum.from_strings({"X" * 6: 1.0})), GeneralEngine)
    program = DiagonalEngine().program(circuit, cost)
    angles = circuit.angles(np.array([[0.4, 0.3]]))[0]
    state = program.state(angles)
    general = GeneralEngine().program(circuit, cost)
    psi = general.state(np.pad(angles, (0, general.rows - len(angles))))
    np.testing.assert_allclose(program.statevector(state), psi, atol=1e-12)
    np.testing.assert_allclose(program.probabilities(state), np.abs(psi) ** 2, atol=1e-12)


def test_metric_is_the_general_engines() -> None:
    cost = unweighted(4)
    circuit = qaoa_circuit(cost, 1)
    angles, jacobian = circuit.angles(np.array([[0.4, 0.3]]))[0], circuit.jacobian()
    general = GeneralEngine().program(circuit, None)
    pad = general.rows - len(circuit)
    expected = general.metric(np.pad(angles, (0, pad)), np.pad(jacobian, ((0, pad), (0, 0))))
    found = DiagonalEngine().program(circuit, None).metric(angles, jacobian)
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize(
    "rows",
    [
        [Rotation(0, 3, parameter=0), Rotation(1, 0, parameter=1)],  # a qubit without a mixer
        [Rotation(1, 0, parameter=0), Rotation(2, 0, parameter=0)],  # no cost layer
        [Rotation(0, 3, parameter=0), Rotation(1, 2, parameter=1), Rotation(2, 0, parameter=1)],  # X with Z
    ],
)
def test_other_circuits_are_not_accepted(rows: list[Rotation]) -> None:
    assert not DiagonalEngine().accepts(Circuit.build(2, rows, initial_plus=True), None)


def test_single_precision_is_close_and_half_the_memory() -> None:
    cost = ring(8)
    circuit = qaoa_circuit(cost, LAYERS)
    angles = circuit.angles(np.random.default_rng(2).normal(size=(1, 2 * LAYERS)))[0]
    double, single = DiagonalEngine(), DiagonalEngine("single")
    exact, rounded = (value_and_gradient(e.program(circuit, cost), angles) for e in (double, single))
    assert rounded[1].dtype == np.float32
    np.testing.assert_allclose(rounded[1], exact[1], atol=1e-4)
    assert 2 * single.bytes_needed(circuit, cost) == double.bytes_needed(circuit, cost)


def test_cvar_is_the_mean_of_the_tail_and_its_gradient_its_slope() -> None:
    cost = ring(6, field=True)
    circuit = qaoa_circuit(cost, 1)
    program = DiagonalEngine().program(circuit, cost)
    jacobian, point, fraction = circuit.jacobian(), np.array([0.5, 0.4]), 0.25

    def cvar(point: np.ndarray) -> float:
        return float(program.cvar(program.state(circuit.angles(point[None])[0]), fraction))

    angles = circuit.angles(point[None])[0]
    state = program.state(angles)
    weights, energies = np.asarray(program.probabilities(state)), cost.diagonal()
    order = np.argsort(energies)
    kept = np.diff(np.minimum(np.cumsum(weights[order]), fraction), prepend=0.0)
    np.testing.assert_allclose(cvar(point), kept @ energies[order] / fraction, atol=1e-12)
    value, gradient = program.cvar_gradient(state, angles, fraction)
    steps = 1e-5 * np.eye(2)
    slopes = [(cvar(point + step) - cvar(point - step)) / 2e-5 for step in steps]
    np.testing.assert_allclose(value, cvar(point), atol=1e-12)
    np.testing.assert_allclose(gradient @ jacobian, slopes, atol=1e-7)


def test_blocked_products_are_kronecker_products() -> None:
    rng = np.random.default_rng(3)
    n = 7
    factors, vectors = rng.normal(size=(n, 2, 2)), rng.normal(size=(2, 1 << n))
    dense = np.ones((1, 1))
    for factor in factors:
        dense = np.kron(factor, dense)
    np.testing.assert_allclose(apply_product(vectors, factors), vectors @ dense.T, atol=1e-10)
    states = np.arange(1 << n)
    signs = (-1.0) ** np.bitwise_count(states[:, None] & states)
    np.testing.assert_allclose(walsh_hadamard(vectors), vectors @ signs, atol=1e-10)


def test_pairing_gives_every_qubits_generator() -> None:
    rng = np.random.default_rng(4)
    n = 7
    right, left = rng.normal(size=(2, 1 << n))
    identity = np.broadcast_to(np.eye(2), (n, 2, 2))
    _, found = apply_and_pair(np.stack([right, left]), identity)
    states = np.arange(1 << n)
    for q in range(n):
        sign = 2.0 * (states >> q & 1) - 1.0
        np.testing.assert_allclose(found[q], left @ (sign * right[states ^ (1 << q)]), atol=1e-10)


# whole and half states of even and odd numbers of qubits, fewer than those of a run and more
@COMPILED
@pytest.mark.parametrize("table", [True, False], ids=["table", "each"])
@pytest.mark.parametrize(
    ("n", "field", "precision"),
    [
        (5, False, "double"),
        (5, True, "double"),
        (8, False, "single"),
        (14, False, "double"),
        (13, True, "single"),
    ],
)
def test_layers_in_c_do_what_xla_does(n: int, field: bool, precision: str, table: bool) -> None:
    cost = ring(n, field=field)
    program = DiagonalEngine(precision).program(qaoa_circuit(cost, 1), cost)
    assert program.halved is not field
    dtype = program.cost.levels.dtype
    rng = np.random.default_rng(n)
    rotations = rotations_by(rng.normal(size=n).astype(dtype))
    size = 1 << (n - program.halved)
    exponents = rng.normal(size=300 if table else size).astype(dtype)
    level_of = rng.integers(300, size=size).astype(np.uint16) if table else None
    phases = layers.Phases(np.cos(exponents), np.sin(exponents), level_of)
    both = rng.normal(size=(4, size)).astype(dtype)
    pairs = [
        (layers.apply_layer, program._applied_by_xla, both[:2]),
        (partial(layers.undo_layer, strings=program.strings), program._undone_by_xla, both),
    ]
    tolerance = 1e-11 if precision == "double" else 2e-3
    for in_c, by_xla, vectors in pairs:
        found, expected = in_c(vectors, phases, rotations), jax.jit(by_xla)(vectors, phases, rotations)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=tolerance), found, expected)


@COMPILED
def test_without_a_compiler_xla_does_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    cost = ring(5)
    circuit = qaoa_circuit(cost, 1)
    angles = circuit.angles(np.array([[0.4, 0.3]]))[0]
    program = DiagonalEngine().program(circuit, cost)
    ours = program.gradient(program.state(angles), angles)
    monkeypatch.setattr(Kernels, "available", lambda kernels: False)
    assert not program._in_c
    theirs = program.gradient(program.state(angles), angles)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-12), ours, theirs)


@COMPILED
def test_layers_in_c_of_many_qubits_take_several_spans() -> None:
    n = 21
    rng = np.random.default_rng(n)
    state = rng.normal(size=(2, 1 << n)).astype(np.float32)
    none = layers.Phases(np.ones(1, np.float32), np.zeros(1, np.float32), np.zeros(1 << n, np.uint8))
    rotations = rotations_by(rng.normal(size=n).astype(np.float32))
    expected = state.reshape(2, *[2] * n)
    for q in range(n):
        expected = np.moveaxis(np.tensordot(rotations[q], expected, axes=(1, n - q)), 0, n - q)
    found = layers.apply_layer(state, none, rotations)
    np.testing.assert_allclose(found, expected.reshape(2, -1), atol=1e-4)


def test_points_of_a_batch_are_those_one_by_one() -> None:
    cost = ring(7)
    circuit = qaoa_circuit(cost, LAYERS)
    points = np.random.default_rng(5).normal(size=(3, len(circuit)))  # each layer's angles apart
    points[0] = circuit.angles(np.array([[0.4, 0.3, 0.2, 0.1]]))[0]  # and shared
    device = open_device("jax")
    together = device.expectation(circuit, cost, points, gradient=True)
    for at in range(len(points)):
        alone = device.expectation(circuit, cost, points[at : at + 1], gradient=True)
        np.testing.assert_allclose(together.values[at], alone.values[0], atol=1e-12)
        np.testing.assert_allclose(together.gradients[at], alone.gradients[0], atol=1e-12)
