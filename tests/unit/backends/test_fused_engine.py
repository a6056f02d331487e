"""Fused blocks against the same rotations one by one, and against lightning."""

from functools import reduce

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends import statevector as sv
from backends.engines.fused import FusedProgram, block_qubits, fused_program
from backends.engines.fusion import Block, bit_permutation, fuse, orders
from backends.engines.general import GeneralEngine, GeneralProgram
from backends.lightning import LightningDevice
from problems import Circuit, Rotation, build_ansatz, build_problem
from problems.circuit import FIXED
from problems.pauli import PauliSum
from shotwise.spec import validate

LINE = {
    "ZZIIII": -1.0,
    "IZZIII": -1.0,
    "IIZZII": 0.7,
    "IIIZZI": -1.1,
    "IIIIZZ": -0.9,
    "XIIIII": 0.5,
    "IIYIXI": 0.3,
}


def random_rotations(rng: np.random.Generator, n_qubits: int, count: int, widest: int) -> list[Rotation]:
    """Pauli rotations and excitations on few qubits, parameters shared, scaled and shifted, some fixed."""
    rows = []
    for row in range(count):
        qubits = rng.choice(n_qubits, size=rng.integers(1, widest + 1), replace=False)
        paulis = rng.integers(1, 4, size=len(qubits))
        x = sum(1 << int(q) for q, pauli in zip(qubits, paulis, strict=True) if pauli & 1)
        z = sum(1 << int(q) for q, pauli in zip(qubits, paulis, strict=True) if pauli & 2)
        parameter = FIXED if row % 5 == 4 else row % 7
        if row % 3 == 2:
            on = sum(1 << int(q) for q in qubits)
            rows.append(Rotation(on, 0, on & int(rng.integers(1 << n_qubits)), parameter, 0.8, 0.3))
        else:
            rows.append(Rotation(x, z, None, parameter, 1.2, 0.1))
    return rows


@pytest.mark.parametrize("seed", range(4))
def test_blocks_give_what_their_rotations_give_one_by_one(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backends.engines.fused.WORTH_IT", 0)
    rng = np.random.default_rng(seed)
    n_qubits = (3, 5, 8, 16)[seed]
    rotations = random_rotations(rng, n_qubits, 40, widest=block_qubits(n_qubits))
    circuit = Circuit.build(n_qubits, rotations, initial_state=0b101, initial_plus=seed == 1)
    strings = ["".join(rng.choice(list("IXYZ"), n_qubits)) for _ in range(6)]
    observable = sv.observable_of(PauliSum.from_strings(dict(zip(strings, rng.normal(size=6), strict=True))))
    initial, table = sv.initial_state(circuit), sv.rotations_of(circuit)
    rows = len(table.x)
    fused = fused_program(circuit, initial, observable, rows)
    plain = GeneralProgram(initial, table, observable)
    assert isinstance(fused, FusedProgram)
    angles = jnp.asarray(np.pad(circuit.angles(rng.normal(size=(1, 7)))[0], (0, rows - len(circuit))))
    state = jax.jit(fused.state)(angles)
    np.testing.assert_allclose(state, jax.jit(plain.state)(angles), atol=1e-13)
    gradients = (jax.jit(program.gradient)(state, angles) for program in (fused, plain))
    for mine, theirs in zip(*gradients, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-12)
    jacobian = np.pad(circuit.jacobian(), ((0, rows - len(circuit)), (0, 0)))
    mine, theirs = (jax.jit(program.metric)(angles, jacobian) for program in (fused, plain))
    np.testing.assert_allclose(mine, theirs, atol=1e-12)


def test_the_general_engine_fuses_hardware_efficient_circuits_and_agrees_with_lightning() -> None:
    spec = validate(
        {"problem": {"kind": "pauli", "terms": LINE}, "ansatz": {"kind": "hardware_efficient", "layers": 3}}
    )
    problem = build_problem(spec.problem)
    circuit = build_ansatz(spec.ansatz, problem).circuit
    program = GeneralEngine().program(circuit, problem.observable)
    assert isinstance(program, FusedProgram)
    points = circuit.angles(np.random.default_rng(0).normal(size=(3, circuit.n_parameters)))
    wanted = LightningDevice().expectation(circuit, problem.hamiltonian, points, gradient=True)
    assert wanted.gradients is not None
    for point, value, gradient in zip(points, wanted.values, wanted.gradients, strict=True):
        angles = jnp.asarray(np.pad(point, (0, program.rows - len(circuit))))
        energy, derivatives = jax.jit(program.gradient)(program.state(angles), angles)
        assert energy == pytest.approx(value, abs=1e-10)
        np.testing.assert_allclose(derivatives[: len(circuit)], gradient, atol=1e-10)


def test_a_wide_rotation_is_run_as_it_is() -> None:
    rows = [Rotation(1 << q, 0, None, q) for q in range(6)] * 4 + [Rotation(0b111111, 0, None, 6)]
    circuit = Circuit.build(6, rows)
    assert isinstance(GeneralEngine().program(circuit, None), GeneralProgram)


@given(
    st.lists(st.sets(st.integers(0, 7), max_size=3).map(lambda s: sum(1 << q for q in s)), max_size=40),
    st.integers(3, 5),
)
@settings(max_examples=200)
def test_fusion_keeps_every_rotation_and_the_order_of_those_that_share_a_qubit(
    supports: list[int], size: int
) -> None:
    blocks = fuse(supports, size)
    assert blocks is not None
    order = [rotation for block in blocks for rotation in block.rotations]
    assert sorted(order) == list(range(len(supports)))
    place = {rotation: at for at, rotation in enumerate(order)}
    for block in blocks:
        assert block.qubits.bit_count() <= size
        assert block.qubits == reduce(int.__or__, (supports[r] for r in block.rotations), 0)
    for first in range(len(supports)):
        for second in range(first + 1, len(supports)):
            if supports[first] & supports[second]:
                assert place[first] < place[second]


@given(st.permutations(range(7)), st.permutations(range(7)))
def test_bit_permutations_move_every_qubit(before: list[int], after: list[int]) -> None:
    low, high = bit_permutation(before, after)
    for index in (0, 1, 0b1010101, 0b1100110, 0b1111111):
        was = int(high[index >> 3] | low[index & 7])
        for position, qubit in enumerate(after):
            assert index >> position & 1 == was >> before.index(qubit) & 1


def test_a_blocks_own_qubits_come_first() -> None:
    blocks = [Block(0b1001000), Block(0b0000110), Block(0)]
    for block, order in zip(blocks, orders(blocks, 7, 4), strict=True):
        assert sorted(order) == list(range(7))
        assert all(qubit in order[:4] for qubit in range(7) if block.qubits >> qubit & 1)
