"""Transpile an ansatz once for a device; append measurement bases after; keep both in memory.

The ansatz is routed once at optimization level 3, from several seeds, and the seed with the best predicted
success on the device's calibration is kept: layouts differ by more than anything else does. Bases are
appended on the physical qubits where ours ended up, so that every basis runs on the same qubits.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
from qiskit.circuit import ClassicalRegister, QuantumCircuit
from qiskit.transpiler import PassManager, Target, generate_preset_pass_manager
from qiskit.transpiler.exceptions import TranspilerError

from backends.calibration import Calibration
from backends.transpile.folding import flip, fold
from backends.transpile.hardware_use import hardware_use
from backends.transpile.qiskit_circuit import to_qiskit
from backends.transpile.success import HardwareUse, estimate_success
from backends.transpile.synthesis import Structure, change_basis
from backends.transpile.targets import usable_target
from measurement.plan import Bases, ExecutionPlan
from shotwise.errors import CannotRunError

REGISTER = "bits"
"""The classical register: its bit q is our qubit q."""

_CACHED_MAX = 64


@dataclass(frozen=True, eq=False)
class Transpiled:
    """A plan's circuits on one device, parameters unbound.

    Attributes:
        circuits: one a basis of the plan, in the device's native gates, all qubits measured.
        free: per circuit, the rotations whose angles its parameters take, in the order of
            `QuantumCircuit.parameters`.
        use: what the circuit without basis change, but with measurement, does to the hardware.
        success: predicted, see `estimate_success`.
        key: content hash of structure, bases, device and calibration time.
    """

    circuits: tuple[QuantumCircuit, ...]
    free: tuple[np.ndarray, ...]
    use: HardwareUse
    success: float
    key: str


@dataclass(frozen=True, eq=False)
class _Routed:
    circuit: QuantumCircuit
    use: HardwareUse
    success: float


class Transpiler:
    """Everything needed to transpile for one device at one calibration. Thread-safe.

    Args:
        device: name in the catalog; part of the cache key.
        target: Qiskit's description of the device.
        calibration: error rates to choose layouts by.
        trials: seeds to try; `seed`, `seed` + 1, ...
    """

    def __init__(
        self, device: str, target: Target, calibration: Calibration, *, trials: int = 4, seed: int = 0
    ) -> None:
        self._device, self._target, self._calibration = device, target, calibration
        self._usable = usable_target(target)
        self._seeds = range(seed, seed + trials)
        self._lock = threading.Lock()
        self._routed: OrderedDict[bytes, _Routed] = OrderedDict()
        self._transpiled: OrderedDict[bytes, Transpiled] = OrderedDict()

    @property
    def target(self) -> Target:
        return self._target

    def transpile(self, plan: ExecutionPlan) -> Transpiled:
        """The plan's circuits, from memory where structure and bases are known.

        Raises:
            CannotRunError: the device is too small.
        """
        structure = Structure.of(plan)
        with self._lock:
            routed_key = self._digest(structure.key())
            key = self._digest(routed_key, plan.bases.key())
            if key not in self._transpiled:
                if routed_key not in self._routed:
                    _keep(self._routed, routed_key, self._route(structure))
                _keep(self._transpiled, key, self._finish(self._routed[routed_key], plan.bases, key.hex()))
            return self._transpiled[key]

    def _digest(self, *parts: bytes) -> bytes:
        whole = hashlib.sha256(f"{self._device} {self._calibration.taken_us} {self._seeds}".encode())
        for part in parts:
            whole.update(len(part).to_bytes(8, "big") + part)
        return whole.digest()

    def _route(self, structure: Structure) -> _Routed:
        n_qubits = structure.circuit.n_qubits
        if n_qubits > (self._target.num_qubits or 0):
            raise CannotRunError(
                "execution.device",
                self._device,
                f"has {self._target.num_qubits} qubits, the circuit {n_qubits}",
                "use a larger device or an active space",
            )
        built = to_qiskit(structure)
        try:
            candidates = [self._route_once(built, self._usable, seed) for seed in self._seeds]
        except TranspilerError:
            # so many couplings are dead that the circuit does not fit on the rest: whoever allowed such a
            # calibration gets the device as it is, with a predicted success of 0
            candidates = [self._route_once(built, self._target, self._seeds[0])]
        return max(candidates, key=lambda candidate: candidate.success)

    def _route_once(self, built: QuantumCircuit, target: Target, seed: int) -> _Routed:
        manager = generate_preset_pass_manager(optimization_level=3, target=target, seed_transpiler=seed)
        circuit = manager.run(built)
        assert circuit.layout is not None  # level 3 on a target with couplings always sets one
        layout = circuit.layout.final_index_layout(filter_ancillas=True)
        use = hardware_use(circuit, self._target, layout)
        return _Routed(circuit, use, estimate_success(use, self._calibration))

    def _finish(self, routed: _Routed, bases: Bases, key: str) -> Transpiled:
        manager = self._finishing_manager(entangling=bool(bases.cliffords))
        circuits = []
        for basis in range(len(bases)):
            circuit = fold(routed.circuit, bases.copies_at(basis))
            circuit._layout = None  # the finishing manager is given a circuit on physical qubits
            circuit.add_register(ClassicalRegister(len(routed.use.layout), REGISTER))
            change_basis(circuit, bases, basis, list(routed.use.layout))
            flip(circuit, bases.flips_at(basis), routed.use.layout)
            circuit.measure(routed.use.layout, range(len(routed.use.layout)))
            circuits.append(manager.run(circuit))
        free = tuple(np.array([p.index for p in c.parameters], dtype=np.int64) for c in circuits)
        return Transpiled(tuple(circuits), free, routed.use, routed.success, key)

    def _finishing_manager(self, *, entangling: bool) -> PassManager:
        """Native gates for the appended basis changes, merged with what is before them.

        Only entangling changes are routed; single-qubit ones are where their qubits are.
        """
        return generate_preset_pass_manager(
            optimization_level=1,
            target=self._target,
            initial_layout=list(range(self._target.num_qubits or 0)),
            routing_method="sabre" if entangling else "none",
            seed_transpiler=self._seeds[0],
        )


def _keep(cache: OrderedDict, key: bytes, value: object) -> None:
    cache[key] = value
    if len(cache) > _CACHED_MAX:
        cache.popitem(last=False)
