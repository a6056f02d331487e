"""One suite over every device: the same answers to the same questions."""

import numpy as np
import pytest

from backends import DEVICE_NAMES, ExactDevice, open_device
from measurement import Bases, ExecutionPlan
from problems.circuit import Circuit, Rotation
from problems.pauli import PauliSum
from shotwise.errors import CannotRunError

N = 5


def random_circuit(seed: int, *, plus: bool) -> Circuit:
    rng = np.random.default_rng(seed)
    rows = []
    for parameter in range(6):
        x, z = (int(v) for v in rng.integers(0, 1 << N, 2))
        rows.append(
            Rotation(x, z or 1, None, parameter, scale=float(rng.normal()), offset=float(rng.normal()))
        )
    rows += [
        Rotation(0b01111, 0, 0b00011, 6),
        Rotation(0b10001, 0b01110, 0b00001, 7),
        Rotation(0b00011, 0, 0b10 & 3, 0),
    ]
    return Circuit.build(N, rows, initial_state=0b00011, initial_plus=plus)


def random_observable(seed: int) -> PauliSum:
    rng = np.random.default_rng(seed)
    return PauliSum.from_strings(
        ("".join(rng.choice(list("IXYZ"), N)), float(c)) for c in rng.normal(size=12)
    )


def dense_pauli(x: int, z: int) -> np.ndarray:
    matrix = np.zeros((1 << N, 1 << N), dtype=complex)
    for k in range(1 << N):
        matrix[k ^ x, k] = 1j ** (x & z).bit_count() * (-1) ** (k & z).bit_count()
    return matrix


def dense_state(circuit: Circuit, point: np.ndarray) -> np.ndarray:
    """The state by dense matrices, straight from the definition of a rotation."""
    psi = np.zeros(1 << N, dtype=complex)
    psi[circuit.initial_state] = 1
    if circuit.initial_plus:
        psi[:] = 2 ** (-N / 2)
    for row, angle in zip(circuit.rotations(), circuit.angles(point[None])[0], strict=True):
        cosine, sine = np.cos(angle / 2), np.sin(angle / 2)
        if row.source is None:
            psi = cosine * psi - 1j * sine * dense_pauli(row.x, row.z) @ psi
            continue
        after = psi.copy()
        for k in range(1 << N):
            if k & row.x == row.source:
                sign = (-1) ** (k & row.z).bit_count()
                after[k] = cosine * psi[k] - sign * sine * psi[k ^ row.x]
                after[k ^ row.x] = cosine * psi[k ^ row.x] + sign * sine * psi[k]
        psi = after
    return psi


@pytest.fixture(params=DEVICE_NAMES)
def device(request: pytest.FixtureRequest) -> ExactDevice:
    return open_device(request.param)


@pytest.mark.parametrize("plus", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_energies_and_gradients_follow_from_the_definition(
    device: ExactDevice, seed: int, plus: bool
) -> None:
    circuit, observable = random_circuit(seed, plus=plus), random_observable(seed)
    points = np.random.default_rng(seed).normal(size=(2, circuit.n_parameters))
    found = device.expectation(circuit, observable, circuit.angles(points), gradient=True)
    dense = sum(
        c * dense_pauli(int(x), int(z))
        for x, z, c in zip(observable.x, observable.z, observable.coefficients, strict=True)
    )

    def energy(point: np.ndarray) -> float:
        psi = dense_state(circuit, point)
        return float((psi.conj() @ dense @ psi).real)

    np.testing.assert_allclose(found.values, [energy(p) for p in points], atol=1e-10)
    assert found.gradients is not None
    gradient = found.gradients @ circuit.jacobian()
    for parameter in range(circuit.n_parameters):
        step = 1e-5 * np.eye(circuit.n_parameters)[parameter]
        numeric = [(energy(p + step) - energy(p - step)) / 2e-5 for p in points]
        np.testing.assert_allclose(gradient[:, parameter], numeric, atol=1e-8)
    alone = device.expectation(circuit, observable, circuit.angles(points), gradient=False)
    np.testing.assert_allclose(alone.values, found.values, atol=1e-12)


@pytest.mark.parametrize("plus", [False, True])
def test_samples_follow_the_rotated_distribution(device: ExactDevice, plus: bool) -> None:
    """Total variation of 20,000 draws over 32 states exceeds 0.05 with probability below 1e-9."""
    circuit = random_circuit(4, plus=plus)
    points = np.random.default_rng(4).normal(size=(2, circuit.n_parameters))
    bases = Bases(np.array([0, 0b00111, 0b11011]), np.array([0, 0b00010, 0b10001]))
    rows = [(0, 0), (0, 1), (1, 2), (1, 0)]
    plan = ExecutionPlan(
        circuit,
        circuit.angles(points),
        bases,
        np.array([r[0] for r in rows]),
        np.array([r[1] for r in rows]),
        np.full(len(rows), 20_000),
        (5, 1),
    )
    outcome = device.sample(plan)
    for row, (point, basis) in enumerate(rows):
        change = Circuit.build(N, bases.rotations(basis, N))
        whole = Circuit.build(
            N,
            circuit.rotations() + change.rotations(),
            initial_state=circuit.initial_state,
            initial_plus=plus,
        )
        expected = np.abs(dense_state(whole, points[point])) ** 2
        states, counts = outcome.row(row)
        assert counts.sum() == 20_000
        seen = np.zeros(1 << N)
        seen[states] = counts / 20_000
        assert 0.5 * np.abs(seen - expected).sum() < 0.05
    again = device.sample(plan)
    np.testing.assert_array_equal(again.states, outcome.states)
    np.testing.assert_array_equal(again.counts, outcome.counts)


def test_an_unknown_device_is_refused() -> None:
    with pytest.raises(CannotRunError, match="exact runs are on jax or lightning"):
        open_device("teapot")
