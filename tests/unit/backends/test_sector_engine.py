"""The sector engine against PennyLane's lightning, and against the engine that knows no sectors."""

from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from backends.engines.compiled import Kernels
from backends.engines.gathers import Dense, EllMatrix, Excitations, Gathers, matrix_of
from backends.engines.general import GeneralEngine
from backends.engines.native import KERNELS, CsrMatrix, Pairs
from backends.engines.sector import SectorEngine, gathers_of, pairs_of, sector_of
from backends.jax_device import ENGINES, JaxDevice, engine_of, program_of
from backends.lightning import LightningDevice
from measurement.grouping import qubit_wise_commuting
from measurement.plan import Bases, ExecutionPlan
from problems import Circuit, GroundSpace, Problem, Rotation, Sector, build_ansatz, build_problem
from problems.excitations import excitation
from problems.pauli import PauliSum
from problems.references import restricted_matrix
from problems.sector import determinants
from problems.sector_matrix import sector_matrix
from shotwise.spec import HardwareEfficientAnsatz, KUpccgsdAnsatz, MoleculeSpec, UccsdAnsatz

GEOMETRY = {
    "H2": {"geometry": "H 0 0 0; H 0 0 0.7414"},
    "H3 doublet": {"geometry": "H 0 0 0; H 0 0 1; H 0 0.9 1.5", "spin": 1},
    "OH": {"geometry": "O 0 0 0; H 0 0 0.97", "spin": 1, "active_space": {"electrons": 5, "orbitals": 4}},
    "H4": {"geometry": "H 0 0 0; H 0 0 1; H 0 0.2 2; H 0.1 0 3"},
}


COMPILED = pytest.mark.skipif(not KERNELS.available(), reason="no C compiler here: XLA does the work")


def molecule(name: str) -> Problem:
    return build_problem(MoleculeSpec.model_validate({"kind": "molecule", **GEOMETRY[name]}))


def givens(orbitals: int) -> Circuit:
    """A network of neighbouring single excitations, angles scaled and shifted, parameters shared."""
    rows = [
        excitation((2 * p + spin,), (2 * p + 2 + spin,))._replace(
            parameter=p % 2, scale=0.5 + spin, offset=0.1 * p
        )
        for p in range(orbitals - 1)
        for spin in (0, 1)
    ]
    return Circuit.build(2 * orbitals, rows * 2, initial_state=0b0011)


def circuits(problem: Problem) -> list[Circuit]:
    assert problem.sector is not None
    specs = (UccsdAnsatz(kind="uccsd"), KUpccgsdAnsatz(kind="kupccgsd", k=2))
    return [*(build_ansatz(spec, problem).circuit for spec in specs), givens(problem.sector.orbitals)]


def points_of(circuit: Circuit, count: int, seed: int) -> np.ndarray:
    return circuit.angles(np.random.default_rng(seed).normal(size=(count, circuit.n_parameters)))


@pytest.mark.parametrize("name", GEOMETRY)
def test_energies_and_gradients_are_those_of_lightning(name: str) -> None:
    problem = molecule(name)
    for seed, circuit in enumerate(circuits(problem)):
        assert isinstance(engine_of(circuit, problem.observable), SectorEngine)
        angles = points_of(circuit, 2, seed)
        ours = JaxDevice().expectation(circuit, problem.observable, angles, gradient=True)
        theirs = LightningDevice().expectation(circuit, problem.observable, angles, gradient=True)
        np.testing.assert_allclose(ours.values, theirs.values, rtol=0, atol=1e-10)
        assert ours.gradients is not None
        assert theirs.gradients is not None
        np.testing.assert_allclose(ours.gradients, theirs.gradients, rtol=0, atol=1e-10)


def test_states_metrics_and_fidelities_are_those_of_the_statevector() -> None:
    problem = molecule("H4")
    circuit = givens(4)
    (angles,) = points_of(circuit, 1, 3)
    sector, general = (
        engine.program(circuit, problem.observable) for engine in (SectorEngine(), GeneralEngine())
    )
    padded = [jnp.pad(angles, (0, program.rows - len(angles))) for program in (sector, general)]
    psi, whole = sector.state(padded[0]), general.state(padded[1])
    np.testing.assert_allclose(sector.statevector(psi), whole, atol=1e-12)
    jacobians = [jnp.pad(circuit.jacobian(), ((0, len(p) - len(angles)), (0, 0))) for p in padded]
    metrics = [p.metric(a, j) for p, a, j in zip((sector, general), padded, jacobians, strict=True)]
    np.testing.assert_allclose(metrics[0], metrics[1], atol=1e-12)
    assert problem.reference is not None
    assert problem.reference.ground is not None
    outside = np.array([0b1111, 0b0001])  # two determinants; the second holds one electron only
    for ground in (problem.reference.ground, GroundSpace(outside)):
        inside = sector.fidelity(psi, SectorEngine().ground(circuit, ground))
        everywhere = general.fidelity(whole, GeneralEngine().ground(circuit, ground))
        np.testing.assert_allclose(inside, everywhere, atol=1e-12)


@pytest.mark.parametrize("z_only", [True, False])
def test_shots_follow_the_statevector_in_every_basis(z_only: bool) -> None:
    problem = molecule("H2")
    circuit = build_ansatz(UccsdAnsatz(kind="uccsd"), problem).circuit
    grouping = qubit_wise_commuting(problem.hamiltonian)
    bases = Bases(np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.int64)) if z_only else grouping.bases
    rows = np.arange(len(bases))
    plan = ExecutionPlan(
        circuit,
        points_of(circuit, 1, 5),
        bases,
        point=np.zeros_like(rows),
        basis=rows,
        shots=np.full_like(rows, 50_000),
        seed=(11, 0),
    )
    ours, theirs = JaxDevice().sample(plan), LightningDevice().sample(plan)
    for row in rows:
        counts = np.zeros((2, 16))
        for at, outcome in enumerate((ours, theirs)):
            states, found = outcome.row(int(row))
            counts[at, states] = found
        # chi-square of two samples with up to 15 degrees of freedom: above 60 once in 4 million
        both = counts.sum(axis=0)
        chi_square = np.sum((counts[0] - counts[1]) ** 2 / np.maximum(both, 1))
        assert chi_square < 60


@pytest.mark.parametrize("sector", [Sector(3, 2, 1), Sector(4, 2, 2), Sector(4, 3, 0), Sector(2, 2, 2)])
def test_the_matrix_from_integrals_is_that_of_the_pauli_sum(sector: Sector) -> None:
    from problems.electronic import ElectronicHamiltonian

    rng, m = np.random.default_rng(1), sector.orbitals
    one_body = rng.normal(size=(m, m))
    factors = rng.normal(size=(m, m, 5))
    factors += factors.transpose(1, 0, 2)
    two_body = np.einsum("pqx,rsx->pqrs", factors, factors)
    hamiltonian = ElectronicHamiltonian(rng.normal(), one_body + one_body.T, two_body)
    expected = restricted_matrix(hamiltonian.pauli, determinants(sector))
    assert expected is not None
    np.testing.assert_allclose(
        sector_matrix(hamiltonian, sector).dense(), expected.toarray(), rtol=0, atol=1e-10
    )


@COMPILED
def test_every_form_of_the_hamiltonian_agrees() -> None:
    problem = molecule("H4")
    circuit = givens(4)
    rows = sector_matrix(problem.observable, sector_of(circuit))
    psi = jnp.asarray(np.random.default_rng(0).normal(size=len(rows)))
    expected = rows.dense() @ np.asarray(psi)
    dense = matrix_of(rows)
    assert isinstance(dense, Dense)
    for form in (dense, EllMatrix.of(rows), CsrMatrix.of(rows)):
        np.testing.assert_allclose(form.apply(psi), expected, atol=1e-12)


@COMPILED
@pytest.mark.parametrize("batched", [False, True])
def test_kernels_in_c_do_what_xla_does(batched: bool) -> None:
    circuit = givens(4)
    rng = np.random.default_rng(1)
    in_c, through_xla = pairs_of(circuit), gathers_of(circuit)
    assert in_c.rows == through_xla.rows
    start = jnp.asarray(rng.normal(size=sector_of(circuit).dimension))
    adjoint = jnp.asarray(rng.normal(size=len(start)))
    slopes = jnp.asarray(rng.normal(size=(in_c.rows, 3)) * rng.integers(0, 2, size=(in_c.rows, 3)))

    def every(excitations: Excitations, angles: jax.Array) -> tuple[jax.Array, ...]:
        state = excitations.state(start, angles)
        derivatives = excitations.derivatives(state, adjoint, angles)
        return state, derivatives[: len(circuit)], excitations.tangents(start, angles, slopes)

    angles = jnp.asarray(rng.normal(size=(3, in_c.rows)))
    for point in (angles,) if batched else angles:
        run = jax.jit(jax.vmap(every, in_axes=(None, 0)) if batched else every)
        for ours, theirs in zip(run(in_c, point), run(through_xla, point), strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-12)


@COMPILED
def test_without_a_compiler_xla_does_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    problem, circuit = molecule("H4"), givens(4)
    in_c = SectorEngine().program(circuit, problem.observable)
    assert isinstance(in_c.excitations, Pairs)
    monkeypatch.setattr(Kernels, "available", lambda kernels: False)
    without = SectorEngine().program(circuit, problem.observable)
    assert isinstance(without.excitations, Gathers)
    angles = jnp.asarray(np.random.default_rng(2).normal(size=in_c.rows))
    ours, theirs = (program.gradient(program.state(angles), angles) for program in (in_c, without))
    np.testing.assert_allclose(ours[0], theirs[0], atol=1e-12)
    np.testing.assert_allclose(ours[1][: len(circuit)], theirs[1][: len(circuit)], atol=1e-12)


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Path]:
    before = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]
    jax.config.update("jax_compilation_cache_dir", str(tmp_path))
    yield tmp_path
    jax.config.update("jax_compilation_cache_dir", before)


@COMPILED
def test_kernels_are_compiled_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert KERNELS.library() is not None
    assert len(list(cache.iterdir())) == 1
    monkeypatch.setenv("PATH", "")  # no compiler is needed any more
    assert KERNELS.library() is not None


@COMPILED
def test_damaged_kernels_are_made_again(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert KERNELS.library() is not None
    (kept,) = cache.iterdir()
    kept.unlink()  # not overwritten: the library is loaded
    kept.write_bytes(b"not a library")
    with monkeypatch.context() as without:
        without.setenv("PATH", "")
        assert KERNELS.library() is None
    assert KERNELS.library() is not None
    assert len(kept.read_bytes()) > 1000


def test_what_leaves_the_sector_runs_elsewhere() -> None:
    hamiltonian = PauliSum.from_strings({"ZIII": 1.0, "XXII": 0.5})
    flip = Rotation(0b0011, 0, 0b0001, 0)  # an alpha electron becomes a beta one
    pauli = Rotation(0b0101, 0, None, 0)
    for rotation in (flip, pauli):
        circuit = Circuit.build(4, [rotation], initial_state=0b0001)
        assert not isinstance(engine_of(circuit, hamiltonian), SectorEngine)
    assert isinstance(ENGINES[-1], GeneralEngine)
    hardware = build_ansatz(HardwareEfficientAnsatz(kind="hardware_efficient"), molecule("H2")).circuit
    assert not isinstance(engine_of(hardware, None), SectorEngine)


def test_observables_of_odd_y_count_by_their_real_part() -> None:
    hamiltonian = PauliSum.from_strings({"YXII": 0.7, "YZXI": 0.3, "ZIZI": 1.0, "XIXI": 0.2})
    circuit = givens(2)
    angles = points_of(circuit, 1, 0)
    ours = JaxDevice().expectation(circuit, hamiltonian, angles, gradient=True)
    theirs = LightningDevice().expectation(circuit, hamiltonian, angles, gradient=True)
    np.testing.assert_allclose(ours.values, theirs.values, atol=1e-12)
    np.testing.assert_allclose(ours.gradients, theirs.gradients, atol=1e-12)


def test_memory_grows_with_the_sector() -> None:
    problem = molecule("H4")
    circuit = givens(4)
    assert sector_of(circuit).dimension == 16
    need = SectorEngine().bytes_needed(circuit, problem.observable)
    program = program_of(circuit, problem.observable)
    assert sum(leaf.nbytes for leaf in jax.tree.leaves(program)) <= need
