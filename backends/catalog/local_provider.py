"""A device on this machine, with the jobs, price and queue of one that is far away.

Jobs are done at once; `queue_s` says how long each would have waited. Nothing is run before `fetch`, which
runs the plan that it is given: local devices are deterministic, so a job that outlives this process, or that
was never recorded, costs nothing but its time.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from backends.calibration import Calibration
from backends.catalog.batches import check_submission, usage_of
from backends.catalog.catalog_provider import DeviceStatus
from backends.catalog.description import DeviceDescription
from backends.device import Sampler
from backends.prices import Price, Usage
from backends.provider import (
    TODAYS,
    BillLine,
    JobGone,
    JobReport,
    JobState,
    ResultMissing,
    SubmitRejected,
)
from backends.transpile.success import HardwareUse
from measurement.plan import ExecutionPlan, Outcome
from shotwise.errors import CannotRunError

_PREFIX = "local-"


@dataclass(frozen=True)
class _Job:
    token: str
    cost_micro_usd: int
    shots: int
    digest: str


class LocalProvider:
    """`backends.provider.Provider` over a local device. Thread-safe.

    Args:
        description: from the catalog.
        device: what runs the plans.
        calibrate: the device's calibration at a time, None where there is none to tell.
        hardware_use: what a plan's circuit does to the hardware and its predicted success, None where the
            device transpiles nothing.
        folder: where jobs are remembered across processes; None keeps them in memory.
    """

    def __init__(
        self,
        description: DeviceDescription,
        device: Sampler,
        *,
        calibrate: Callable[[int], Calibration] | None = None,
        hardware_use: Callable[[ExecutionPlan], tuple[HardwareUse, float]] | None = None,
        folder: Path | None = None,
    ) -> None:
        self._description, self._device = description, device
        self._calibrate, self._hardware_use = calibrate, hardware_use
        self._folder = folder / description.name if folder else None
        self._lock = threading.Lock()
        self._jobs: dict[str, _Job] = {}
        if self._folder:
            for path in sorted(self._folder.glob("*.json")):
                job = _Job(**json.loads(path.read_text(encoding="utf-8")))
                self._jobs[_PREFIX + job.token] = job

    def __repr__(self) -> str:
        return f"LocalProvider({self.name})"

    @property
    def name(self) -> str:
        return self._description.name

    @property
    def honours_tokens(self) -> bool:
        return True

    @property
    def device(self) -> Sampler:
        """What runs the plans, for those that need no jobs."""
        return self._device

    def status(self) -> DeviceStatus:
        """Always online."""
        return DeviceStatus(online=True, queue_length=0)

    def calibration(self, now_us: int) -> Calibration | None:
        """Error rates as of now; None for a simulator without noise."""
        return self._calibrate(now_us) if self._calibrate else None

    def hardware_use(self, plan: ExecutionPlan) -> tuple[HardwareUse, float] | None:
        """What one circuit of the plan does to the hardware, and its predicted success; None if unknown."""
        return self._hardware_use(plan) if self._hardware_use else None

    def usage(self, plan: ExecutionPlan, use: HardwareUse | None) -> Usage:
        return usage_of(plan, self._description, use)

    def close(self) -> None:
        """Nothing is kept open."""

    def submit(self, plan: ExecutionPlan, token: str) -> str:
        """Record the job; the same token again is the same job."""
        check_submission(plan, token, self._description)
        if plan.circuit.n_qubits > self._device.capabilities.n_qubits_max:
            too_many = f"{plan.circuit.n_qubits} qubits are too many to simulate"
            raise SubmitRejected(f"{self.name}: {too_many}", permanent=True)
        try:
            use = self.hardware_use(plan)
        except CannotRunError as error:
            raise SubmitRejected(str(error), permanent=True) from None
        usage = usage_of(plan, self._description, use[0] if use else None)
        cost = self._description.price.cost_micro_usd(usage)
        job = _Job(token, cost, plan.shots_total, _digest(plan))
        with self._lock:
            kept = self._jobs.setdefault(_PREFIX + token, job)
            if kept.digest != job.digest:
                raise SubmitRejected(f"{self.name}: token {token} was used for another plan", permanent=True)
            if kept is job and self._folder:
                self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                _write(self._folder / f"{token}.json", json.dumps(asdict(job)))
        return _PREFIX + token

    def find(self, token: str) -> list[str]:
        with self._lock:
            return [job_id for job_id in (_PREFIX + token,) if job_id in self._jobs]

    def poll(self, job_id: str, price: Price | None = None) -> JobReport:
        """Always done; the cost is unknown where another process submitted it and no folder is shared."""
        job = self._known(job_id)
        return JobReport(job_id, JobState.DONE, job.cost_micro_usd if job else None)

    def fetch(self, job_id: str, plan: ExecutionPlan) -> Outcome:
        """Run the plan.

        Raises:
            ResultMissing: the job was submitted with another plan.
        """
        job = self._known(job_id)
        if job and job.digest != _digest(plan):
            raise ResultMissing(f"{self.name}: {job_id} is the job of another plan")
        return self._device.sample(plan)

    def cancel(self, job_id: str) -> JobReport:
        """Too late, always."""
        return self.poll(job_id)

    def bill(self, prices: Mapping[str, Price] = TODAYS) -> list[BillLine]:
        """See `Provider.bill`; every job was recorded with its cost."""
        with self._lock:
            jobs = sorted(self._jobs.items())
        return [BillLine(key, job.token, job.cost_micro_usd, f"{job.shots} shots") for key, job in jobs]

    def queue_s(self, job_id: str) -> float:
        """How long the job would have waited: drawn from the queue model, the same at every call."""
        entropy = int.from_bytes(hashlib.sha256(f"{self.name} {job_id}".encode()).digest()[:16], "big")
        return self._description.queue.draw_s(np.random.default_rng(entropy))

    def _known(self, job_id: str) -> _Job | None:
        if not job_id.startswith(_PREFIX):
            raise JobGone(f"{self.name}: {job_id} is no job of this device")
        with self._lock:
            return self._jobs.get(job_id)


def _digest(plan: ExecutionPlan) -> str:
    """Content of a plan."""
    circuit = plan.circuit
    whole = hashlib.sha256(
        repr((circuit.n_qubits, circuit.initial_state, circuit.initial_plus, plan.seed)).encode()
    )
    tables = (circuit.x, circuit.z, circuit.source, circuit.excitation, plan.angles)
    for array in (*tables, plan.point, plan.basis, plan.shots):
        whole.update(repr(array.shape).encode() + np.ascontiguousarray(array).tobytes())
    whole.update(plan.bases.key())
    return whole.hexdigest()


def _write(path: Path, text: str) -> None:
    """A whole file or none."""
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)
