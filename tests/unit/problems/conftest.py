"""An independent, slow statevector simulator: every gate as written in `problems.circuit`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from problems.circuit import Circuit
from problems.pauli import PauliSum


def dense_string(x: int, z: int, n: int) -> np.ndarray:
    """Pauli string as a Kronecker product; qubit q is bit q of the index."""
    paulis = {
        (0, 0): np.eye(2),
        (1, 0): np.array([[0, 1], [1, 0]]),
        (0, 1): np.diag([1, -1]),
        (1, 1): np.array([[0, -1j], [1j, 0]]),
    }
    matrix = np.eye(1)
    for q in range(n):
        matrix = np.kron(paulis[x >> q & 1, z >> q & 1], matrix)
    return matrix


def dense_sum(hamiltonian: PauliSum) -> np.ndarray:
    n = hamiltonian.n_qubits
    total = np.zeros((1 << n, 1 << n), dtype=complex)
    for x, z, c in zip(hamiltonian.x, hamiltonian.z, hamiltonian.coefficients, strict=True):
        total += c * dense_string(int(x), int(z), n)
    return total


def run_circuit(circuit: Circuit, parameters: np.ndarray) -> np.ndarray:
    n = circuit.n_qubits
    states = np.arange(1 << n)
    psi = np.zeros(1 << n, dtype=complex)
    psi[circuit.initial_state] = 1
    if circuit.initial_plus:
        psi[:] = 2 ** (-n / 2)
    for row in circuit.rotations():
        angle = row.offset + (row.scale * parameters[row.parameter] if row.parameter >= 0 else 0.0)
        z_sign = (-1.0) ** np.bitwise_count(states & row.z)
        if row.source is None:
            applied = (1j ** (row.x & row.z).bit_count() * z_sign * psi)[states ^ row.x]
            psi = np.cos(angle / 2) * psi - 1j * np.sin(angle / 2) * applied
            continue
        new = psi.copy()
        down = states[(states & row.x) == row.source]
        up = down ^ row.x
        c, s = np.cos(angle / 2), np.sin(angle / 2) * z_sign[down]
        new[down] = c * psi[down] - s * psi[up]
        new[up] = c * psi[up] + s * psi[down]
        psi = new
    return psi


def apply_sum(hamiltonian: PauliSum, psi: np.ndarray) -> np.ndarray:
    states = np.arange(len(psi))
    total = np.zeros(len(psi), dtype=complex)
    for x, z, c in zip(hamiltonian.x, hamiltonian.z, hamiltonian.coefficients, strict=True):
        signs = (-1.0) ** np.bitwise_count(states & z)
        total += c * (1j ** int(x & z).bit_count() * signs * psi)[states ^ x]
    return total


@pytest.fixture(scope="session")
def dense() -> Callable[[PauliSum], np.ndarray]:
    return dense_sum


@pytest.fixture(scope="session")
def simulate() -> Callable[[Circuit, np.ndarray], np.ndarray]:
    return run_circuit


@pytest.fixture(scope="session")
def energy() -> Callable[[PauliSum, Circuit, np.ndarray], float]:
    def energy_of(hamiltonian: PauliSum, circuit: Circuit, parameters: np.ndarray) -> float:
        psi = run_circuit(circuit, np.asarray(parameters, dtype=float))
        return float(np.vdot(psi, apply_sum(hamiltonian, psi)).real)

    return energy_of
