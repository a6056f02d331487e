"""Synthesis, transpilation, predicted error and simulated devices."""

import math
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("qiskit_aer")
pytest.importorskip("qiskit_ibm_runtime")

from qiskit.circuit import QuantumCircuit
from qiskit.quantum_info import Statevector
from scipy.stats import spearmanr

from backends import statevector as sv
from backends.aer.noisy_device import NoisyDevice
from backends.aer.snapshots import load_snapshot
from backends.calibration import Calibration, rejection_reason
from backends.catalog import LocalProvider, load_catalog, open_provider
from backends.ibm_properties import read_calibration
from backends.jax_device import JaxDevice
from backends.provider import SubmitRejected
from backends.transpile.qiskit_circuit import to_qiskit
from backends.transpile.success import HardwareUse, estimate_success, predicted_bias, spread_of
from backends.transpile.synthesis import Structure, change_basis
from measurement.estimator import estimate
from measurement.grouping import qubit_wise_commuting
from measurement.plan import Bases, ExecutionPlan
from problems.circuit import Circuit, Rotation
from problems.excitations import excitation
from problems.pauli import PauliSum
from shotwise.errors import CannotRunError

N = 5
H2 = PauliSum.from_strings(
    [
        ("IIII", -0.09706626816763),
        ("ZIII", 0.17141282644777),
        ("IZII", 0.17141282644777),
        ("IIZI", -0.22343153690813),
        ("IIIZ", -0.22343153690813),
        ("ZZII", 0.16868898170361),
        ("ZIZI", 0.12062523483390),
        ("ZIIZ", 0.16592785033770),
        ("IZZI", 0.16592785033770),
        ("IZIZ", 0.12062523483390),
        ("IIZZ", 0.17441287612262),
        ("XXYY", -0.04530261550380),
        ("XYYX", 0.04530261550380),
        ("YXXY", 0.04530261550380),
        ("YYXX", -0.04530261550380),
    ]
)
"""Jordan-Wigner, 0.7414 A, STO-3G."""


def uccsd() -> Circuit:
    operators = [excitation((0, 1), (2, 3)), excitation((0,), (2,)), excitation((1,), (3,))]
    rows = [operator._replace(parameter=index) for index, operator in enumerate(operators)]
    return Circuit.build(4, rows, initial_state=0b0011)


def random_circuit(seed: int, *, plus: bool) -> Circuit:
    rng = np.random.default_rng(seed)
    rows = []
    for parameter in range(5):
        x, z = (int(v) for v in rng.integers(0, 1 << N, 2))
        rows.append(Rotation(x, z or 1, None, parameter, float(rng.normal()), float(rng.normal())))
    rows += [
        Rotation(0b00011, 0, 0b10, 0),
        Rotation(0b10001, 0b01110, 0b00001, 5),
        Rotation(0b00110, 0b00001, 0b00000, 1),
        Rotation(0b01111, 0, 0b00011, 6),
        Rotation(0b11011, 0b00100, 0b01001, 7),
        Rotation(0b00111, 0b11000, 0b00101, 2),
        Rotation(0b00010, 0b00100, 0b00010, 3),
        Rotation(0, 0b00011, offset=np.pi / 2),
        Rotation(0, 0, None, 4),
    ]
    return Circuit.build(N, rows, initial_state=0b10011, initial_plus=plus)


def plan_of(circuit: Circuit, points: np.ndarray, bases: Bases, shots: int = 1000) -> ExecutionPlan:
    n_points, n_bases = len(points), len(bases)
    return ExecutionPlan(
        circuit,
        circuit.angles(points),
        bases,
        np.repeat(np.arange(n_points), n_bases),
        np.tile(np.arange(n_bases), n_points),
        np.full(n_points * n_bases, shots),
        (11, 2),
    )


def bound(built: QuantumCircuit, angles: np.ndarray) -> QuantumCircuit:
    return built.assign_parameters({p: angles[p.index] for p in built.parameters})


@pytest.mark.parametrize("plus", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_synthesis_is_exact(seed: int, plus: bool) -> None:
    circuit = random_circuit(seed, plus=plus)
    points = np.random.default_rng(seed).normal(size=(1, circuit.n_parameters))
    plan = plan_of(circuit, points, Bases(np.array([0]), np.array([0])))
    rotations = sv.rotations_of(circuit)
    padded = sv.padded_angles(plan.angles, len(rotations.x))
    expected = np.asarray(sv.evolve(sv.initial_state(circuit), rotations, padded[0]))
    found = Statevector(bound(to_qiskit(Structure.of(plan)), plan.angles[0])).data
    phase = np.vdot(found, expected)
    np.testing.assert_allclose(found * phase, expected, atol=1e-10)


@pytest.mark.parametrize(
    ("rotation", "two_qubit"),
    [
        (Rotation(0, 0b111, None, 0), 4),
        (excitation((0,), (1,))._replace(parameter=0), 2),
        (excitation((0,), (2,))._replace(parameter=0), 4),
        (excitation((0,), (4,))._replace(parameter=0), 8),
        (excitation((0, 1), (2, 3))._replace(parameter=0), 14),
    ],
)
def test_synthesis_takes_few_two_qubit_gates(rotation: Rotation, two_qubit: int) -> None:
    circuit = Circuit.build(N, [rotation])
    built = to_qiskit(Structure(circuit, np.array([False])))
    assert sum(len(instruction.qubits) == 2 for instruction in built.data) == two_qubit


def test_a_fixed_rotation_that_is_shifted_is_free() -> None:
    circuit = Circuit.build(2, [Rotation(0, 0b11, offset=0.3), Rotation(0b01, 0, None, 0)])
    plan = plan_of(circuit, np.zeros((2, 1)), Bases(np.array([0]), np.array([0])))
    assert Structure.of(plan).fixed.tolist() == [True, False]
    angles = plan.angles.copy()
    angles[1, 0] += 0.1
    shifted = Structure.of(replace(plan, angles=angles))
    assert shifted.fixed.tolist() == [False, False]
    assert shifted.key() != Structure.of(plan).key()


@pytest.fixture(scope="module")
def manila() -> NoisyDevice:
    return NoisyDevice("sim-manila", "manila")


def test_transpiled_circuits_measure_what_the_plan_asks(manila: NoisyDevice) -> None:
    """Exact distributions, routing and basis changes included."""
    circuit = random_circuit(1, plus=False)
    points = np.random.default_rng(1).normal(size=(2, circuit.n_parameters))
    bases = Bases(np.array([0, 0b00111, 0b11011]), np.array([0, 0b00010, 0b10001]))
    plan = plan_of(circuit, points, bases)
    transpiled, plain = manila.transpile(plan), to_qiskit(Structure.of(plan))
    for row in range(len(plan)):
        basis, angles = int(plan.basis[row]), plan.angles[plan.point[row]]
        expected = bound(plain, angles)
        change_basis(expected, bases, basis, range(N))
        physical = transpiled.circuits[basis]
        native = physical.assign_parameters(angles[transpiled.free[basis]])
        measured = {
            native.find_bit(i.clbits[0]).index: native.find_bit(i.qubits[0]).index
            for i in native.data
            if i.operation.name == "measure"
        }
        assert tuple(measured[q] for q in range(N)) == transpiled.use.layout
        native.remove_final_measurements()
        found = Statevector(native).probabilities([measured[q] for q in range(N)])
        np.testing.assert_allclose(found, Statevector(expected).probabilities(), atol=1e-9)


def test_transpiling_is_done_once(manila: NoisyDevice) -> None:
    circuit = uccsd()
    z = Bases(np.array([0]), np.array([0]))
    first = manila.transpile(plan_of(circuit, np.zeros((1, 3)), z))
    assert manila.transpile(plan_of(circuit, np.ones((2, 3)), z)) is first
    other = manila.transpile(plan_of(circuit, np.ones((2, 3)), Bases(np.array([1]), np.array([0]))))
    assert other is not first
    assert other.use is first.use  # the same routing, another basis
    again = NoisyDevice("sim-manila", "manila").transpile(plan_of(circuit, np.zeros((1, 3)), z))
    assert (again.key, again.use) == (first.key, first.use)


def test_noisy_samples_repeat_themselves_and_keep_rows_and_qubits(manila: NoisyDevice) -> None:
    circuit = Circuit.build(4, [Rotation(0b0001, 0, None, 0)], initial_state=0b0100)
    plan = plan_of(circuit, np.array([[0.0], [np.pi]]), Bases(np.array([0]), np.array([0])))
    plan = replace(
        plan, point=np.array([0, 1, 1, 0]), basis=np.zeros(4, int), shots=np.array([600, 500, 0, 600])
    )
    outcome = manila.sample(plan)
    assert [int(outcome.row(row)[1].sum()) for row in range(4)] == [600, 500, 0, 600]
    likeliest = [int(outcome.row(row)[0][outcome.row(row)[1].argmax()]) for row in (0, 1, 3)]
    assert likeliest == [0b0100, 0b0101, 0b0100]
    assert len(outcome.row(0)[0]) > 1  # noise
    assert outcome.row(0)[1].tolist() != outcome.row(3)[1].tolist()  # rows draw apart
    assert manila.sample(plan).to_bytes() == outcome.to_bytes()
    assert manila.sample(replace(plan, seed=(12,))).to_bytes() != outcome.to_bytes()


def test_waiting_costs() -> None:
    """A qubit in |1> that waits between two gates relaxes: P(1) falls by more than 5 standard errors."""
    meet = Rotation(0, 0b011, None, 0)
    others = [row for _ in range(20) for row in (Rotation(0b110, 0, None, 0), Rotation(0, 0b110, None, 0))]
    circuit = Circuit.build(3, [meet, *others, meet], initial_state=0b001)
    plan = plan_of(circuit, np.array([[0.1]]), Bases(np.array([0]), np.array([0])), shots=4000)

    def excited(idle_noise: bool) -> float:
        states, counts = NoisyDevice("x", "perth", idle_noise=idle_noise).sample(plan).row(0)
        return float(counts[states & 1 == 1].sum() / 4000)

    assert excited(True) < excited(False) - 0.05


def test_a_simulated_device_is_a_priced_provider() -> None:
    provider = open_provider(load_catalog()["sim-athens"])
    assert isinstance(provider, LocalProvider)
    plan = plan_of(uccsd(), np.zeros((1, 3)), Bases(np.array([0]), np.array([0])), shots=100)
    job_id = provider.submit(plan, "t")
    assert provider.poll(job_id).cost_micro_usd == 445_000
    use = provider.hardware_use(plan)
    assert use is not None
    assert use[0].two_qubit_count > 13
    assert provider.fetch(job_id, plan).counts.sum() == 100
    calibration = provider.calibration(10**15)
    assert calibration is not None
    assert rejection_reason(calibration, 10**15) is None
    wide = plan_of(Circuit.build(6, []), np.zeros((1, 0)), Bases(np.array([0]), np.array([0])))
    with pytest.raises(SubmitRejected):
        provider.submit(wide, "u")
    with pytest.raises(CannotRunError):
        NoisyDevice("sim-athens", "athens").transpile(wide)


@pytest.mark.parametrize(("name", "works"), [("sim-kyoto", False), ("sim-kingston", True), ("sim-fez", True)])
def test_bad_calibrations_are_survived(name: str, works: bool) -> None:
    """Kyoto has no working coupling, Kingston and Fez some dead ones, which no layout may use."""
    provider = open_provider(load_catalog()[name])
    plan = plan_of(uccsd(), np.zeros((1, 3)), Bases(np.array([0]), np.array([0])), shots=50)
    use = provider.hardware_use(plan)
    assert use is not None
    assert (use[1] > 0.5) is works
    assert provider.fetch(provider.submit(plan, "t"), plan).counts.sum() == 50


def test_snapshots_that_lack_values_are_read_and_distrusted() -> None:
    properties = {
        "last_update_date": "2026-01-01T00:00:00+00:00",
        "qubits": [
            [{"name": "T1", "unit": "us", "value": 50.0}],
            [{"name": "readout_error", "unit": "", "value": 0.1}],
        ],
        "gates": [
            {
                "gate": "cz",
                "qubits": [1, 0],
                "parameters": [{"name": "gate_error", "unit": "", "value": 0.01}],
            },
            {
                "gate": "cz",
                "qubits": [0, 1],
                "parameters": [{"name": "gate_error", "unit": "", "value": 0.02}],
            },
        ],
    }
    calibration = read_calibration(properties)
    assert calibration.two_qubit_error == (((0, 1), 0.01),)
    assert calibration.t1_s == (pytest.approx(5e-5), None)
    assert math.isnan(calibration.readout_error[0])
    assert (
        rejection_reason(calibration, calibration.taken_us)
        == "calibration holds a value that is no probability"
    )
    for missing in ("nowhere", "../manila", ""):
        with pytest.raises(CannotRunError):
            load_snapshot(missing)


USE = HardwareUse((0, 1), ((0, 2),), (((0, 1), 3),), ((0, 0.0), (1, 1e-5)), 1e-6)


def calibrated(
    readout: float = 0.0, one: float = 0.0, two: float = 0.0, t1_s: float | None = None
) -> Calibration:
    return Calibration(0, (readout, readout), (one, one), (((0, 1), two),), (t1_s, t1_s), (t1_s, t1_s))


def test_predicted_success_is_the_product_of_what_can_go_wrong() -> None:
    assert estimate_success(USE, calibrated()) == 1.0
    assert estimate_success(USE, calibrated(readout=0.1)) == pytest.approx(0.81)
    assert estimate_success(USE, calibrated(one=0.1)) == pytest.approx(0.81)
    assert estimate_success(USE, calibrated(two=0.1)) == pytest.approx(0.729)
    decay = math.exp(-0.1)
    assert estimate_success(USE, calibrated(t1_s=1e-4)) == pytest.approx(0.5 + decay / 6 + decay / 3)
    for bad in (math.nan, 1.0, -0.1, math.inf):
        assert estimate_success(USE, calibrated(two=bad)) == 0.0
    assert estimate_success(replace(USE, two_qubit_gates=(((0, 2), 1),)), calibrated()) == 0.0
    assert estimate_success(replace(USE, layout=(7,)), calibrated()) == 0.0
    assert predicted_bias(0.75, 2.0) == 0.5
    observable = PauliSum.from_strings([("II", 9.0), ("XZ", 3.0), ("ZZ", 4.0), ("ZI", 2.0)])
    assert spread_of(observable) == pytest.approx(29**0.5)
    assert spread_of(observable, 0b00) == 6.0  # <ZZ> = <ZI> = 1
    assert spread_of(observable, 0b01) == 6.0  # <ZZ> = <ZI> = -1
    assert spread_of(observable, 0b10) == pytest.approx(29**0.5)  # closer than the deviation


def test_predicted_error_ranks_devices_as_their_noise_does() -> None:
    """Unrelated ranks of 10 devices have a rho above 0.7 with probability 0.015; seeds are fixed."""
    grouping = qubit_wise_commuting(H2)
    plan = plan_of(uccsd(), np.array([[0.22, 0.0, 0.0]]), grouping.bases, shots=4000)
    exact = float(JaxDevice().expectation(plan.circuit, H2, plan.angles, gradient=False).values[0])
    names = "bogota quito melbourne athens belem guadalupe lima mumbai peekskill prague"
    predicted, seen = [], []
    for name in names.split():
        device = NoisyDevice(f"sim-{name}", name)
        energy = float(estimate(plan, grouping, device.sample(plan)).means[0])
        seen.append(abs(energy - exact))
        predicted.append(predicted_bias(device.transpile(plan).success, abs(exact - grouping.constant)))
    assert spearmanr(predicted, seen).statistic > 0.7
    assert 0.4 < np.median(np.array(seen) / predicted) < 1.3
