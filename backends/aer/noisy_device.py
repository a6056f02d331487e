"""A real device's snapshot as a device on this machine."""

from __future__ import annotations

import threading
import warnings
from collections import OrderedDict
from dataclasses import dataclass

from qiskit.circuit import QuantumCircuit
from qiskit_aer import AerSimulator
from qiskit_aer.noise import NoiseModel
from qiskit_ibm_runtime import SamplerV2, fake_provider
from qiskit_ibm_runtime.fake_provider.fake_backend import FakeBackendV2

from backends.aer.noise import noise_model, used_qubits, with_idle_noise
from backends.aer.snapshots import load_snapshot
from backends.calibration import Calibration
from backends.device import Capabilities
from backends.transpile.pubs import PubRows, group_rows, join_results, pub_of
from backends.transpile.success import HardwareUse
from backends.transpile.transpiler import Transpiled, Transpiler
from measurement.plan import ExecutionPlan, Outcome
from shotwise.errors import CannotRunError

SIMULATED_QUBITS_MAX = 16
"""Noisy simulation takes 2 s a circuit of 12 qubits and grows fourfold with two more."""

_CACHED_MAX = 32
_RUNNING = threading.Lock()
"""Warning filters are the process's, so one local sampler runs at a time; Aer uses all cores anyway."""


@dataclass(frozen=True, eq=False)
class _Runnable:
    """Circuits with their noise."""

    circuits: tuple[QuantumCircuit, ...]
    noise: NoiseModel


class NoisyDevice:
    """Samples of a snapshot's device through SamplerV2 in local mode on Aer. Thread-safe, deterministic.

    Rows with the same number of shots run together, seeded by the first of them, so an outcome depends on the
    whole plan and on nothing else (on one machine and version set).

    Args:
        name: in the catalog.
        snapshot: of qiskit-ibm-runtime, by its vendor's name: "manila".
        drop_dead_couplings: see `Snapshot.aged`.
        idle_noise: relaxation while qubits wait; as on the real device, at two to three times the run time.
    """

    def __init__(
        self, name: str, snapshot: str, *, drop_dead_couplings: bool = False, idle_noise: bool = True
    ) -> None:
        self._name, self._idle_noise = name, idle_noise
        self._snapshot = load_snapshot(snapshot)
        self._drop_dead_couplings = drop_dead_couplings
        self._backend = _fake_backend(snapshot)
        self._transpiler = Transpiler(name, self._backend.target, self._snapshot.calibration)
        self._runnable: OrderedDict[str, _Runnable] = OrderedDict()

    @property
    def name(self) -> str:
        return self._name

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(min(self._snapshot.calibration.n_qubits, SIMULATED_QUBITS_MAX))

    def calibration(self, now_us: int, age_s: float = 0.0) -> Calibration:
        """The snapshot as taken `age_s` ago."""
        return self._snapshot.aged(now_us, age_s, drop_dead_couplings=self._drop_dead_couplings)

    def transpile(self, plan: ExecutionPlan) -> Transpiled:
        """The plan's circuits on this device, cached. Raises CannotRunError where it is too small."""
        return self._transpiler.transpile(plan)

    def hardware_use(self, plan: ExecutionPlan) -> tuple[HardwareUse, float]:
        """What one circuit of the plan does to the hardware, and its predicted success."""
        transpiled = self.transpile(plan)
        return transpiled.use, transpiled.success

    def sample(self, plan: ExecutionPlan) -> Outcome:
        """Every row of the plan, noise and all. Raises CannotRunError where the device is too small."""
        transpiled = self.transpile(plan)
        with _RUNNING:
            runnable = self._made_runnable(transpiled)
            groups = group_rows(plan)
            by_shots: dict[int, list[PubRows]] = {}
            for group in groups:
                by_shots.setdefault(group.shots, []).append(group)
            return join_results(
                plan, [(part, self._run(plan, transpiled, runnable, part)) for part in by_shots.values()]
            )

    def _run(
        self, plan: ExecutionPlan, transpiled: Transpiled, runnable: _Runnable, groups: list[PubRows]
    ) -> list:
        """One local SamplerV2 job: all groups have the same shots."""
        pubs = [pub_of(plan, runnable.circuits, transpiled, group) for group in groups]
        seed = int(plan.generator(groups[0].rows[0]).integers(1, 2**31))
        with warnings.catch_warnings():
            # 0.50 deprecates SamplerV2 in favour of a client-side Sampler whose local mode has no noise seed
            warnings.filterwarnings("ignore", "The SamplerV2 class is deprecated", DeprecationWarning)
            simulator = AerSimulator(noise_model=runnable.noise)
            sampler = SamplerV2(mode=simulator, options={"simulator": {"seed_simulator": seed}})
            return list(sampler.run(pubs).result())

    def _made_runnable(self, transpiled: Transpiled) -> _Runnable:
        if transpiled.key not in self._runnable:
            properties, circuits = self._backend.properties(), transpiled.circuits
            native = list(self._snapshot.native_gates)
            noise = noise_model(properties, native, used_qubits(circuits))
            if self._idle_noise:
                circuits = with_idle_noise(circuits, self._backend.target, properties)
            self._runnable[transpiled.key] = _Runnable(circuits, noise)
            if len(self._runnable) > _CACHED_MAX:
                self._runnable.popitem(last=False)
        return self._runnable[transpiled.key]


def _fake_backend(snapshot: str) -> FakeBackendV2:
    for entry in vars(fake_provider).values():
        if isinstance(entry, type) and getattr(entry, "backend_name", None) == f"fake_{snapshot}":
            return entry()
    raise CannotRunError(
        "snapshot", snapshot, "qiskit-ibm-runtime has no such device", "see its fake_provider"
    )
