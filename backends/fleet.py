"""The devices that a run may use, opened when first needed, and what each would do with a batch."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from backends.calibration import STALE_AFTER_S, Calibration, distrust
from backends.catalog import (
    DeviceDescription,
    QueueModel,
    Surroundings,
    load_catalog,
    open_provider,
    split_plan,
    usage_of,
)
from backends.dispatch import Candidate
from backends.prices import Usage
from backends.provider import Provider, ProviderUnavailable
from backends.transpile.success import HardwareUse, predicted_bias, spectral_spread
from measurement import ExecutionPlan, Grouping
from problems.circuit import Circuit
from problems.pauli import PauliSum
from shotwise.errors import CannotRunError

SANDBOX_URL = "SHOTWISE_SANDBOX_URL"
SANDBOX_PREFIX = "sandbox-"


@dataclass(frozen=True)
class Trust:
    """What the spec allows of calibrations."""

    stale_after_s: float = STALE_AFTER_S
    allow_bad: bool = False


@dataclass
class Fleet:
    """Devices by name. Providers are opened once and kept.

    Attributes:
        names: the devices that may be used, in the order in which they are offered.
        jobs_folder: where local providers remember their jobs across processes.
    """

    names: tuple[str, ...]
    jobs_folder: Path | None = None
    trust: Trust = Trust()
    now_us: Callable[[], int] = lambda: time.time_ns() // 1000
    _providers: dict[str, Provider] = field(default_factory=dict, repr=False)
    _descriptions: dict[str, DeviceDescription] = field(default_factory=dict, repr=False)

    def description(self, name: str) -> DeviceDescription:
        """What is known of a device before a job.

        Raises:
            CannotRunError: there is no such device, or its sandbox does not answer.
        """
        if name not in self._descriptions:
            self._descriptions[name] = (
                _sandbox_description(name) if _in_sandbox(name) else load_catalog()[name]
            )
        return self._descriptions[name]

    def provider(self, name: str) -> Provider:
        """The device, ready for jobs. Raises CannotRunError."""
        if name not in self._providers:
            self._providers[name] = _open(name, self.description(name), self.jobs_folder)
        return self._providers[name]

    def forget(self, name: str) -> None:
        """Ask for a device's description again when it is next needed: its price or queue has changed."""
        self._descriptions.pop(name, None)

    def close(self) -> None:
        """Close idle connections; the devices open again when needed."""
        for provider in self._providers.values():
            close = getattr(provider, "close", None)
            if close:
                close()
        self._providers.clear()

    def calibration(self, name: str) -> Calibration | None:
        """Its latest calibration, None where it publishes none. Raises ProviderUnavailable."""
        provider = self.provider(name)
        if _in_sandbox(name):
            return provider.calibration()  # pyright: ignore[reportAttributeAccessIssue]
        told = getattr(provider, "calibration", None)
        return told(self.now_us()) if told else None

    def calibration_json(self, name: str) -> str | None:
        """The latest calibration for the journal, None where there is none or it cannot be had now."""
        try:
            calibration = self.calibration(name)
        except ProviderUnavailable:
            return None
        return None if calibration is None else json.dumps(asdict(calibration))

    def candidates(self, plan: ExecutionPlan, grouping: Grouping, observable: PauliSum) -> list[Candidate]:
        """Every device's predictions for the batch, with the reason where it cannot take it."""
        return [self._candidate(name, plan, grouping, observable) for name in self.names]

    def _candidate(
        self, name: str, plan: ExecutionPlan, grouping: Grouping, observable: PauliSum
    ) -> Candidate:
        try:
            description = self.description(name)
            if plan.circuit.n_qubits > description.n_qubits:
                return Candidate(
                    name, f"{plan.circuit.n_qubits} qubits, the device has {description.n_qubits}"
                )
            calibration = self.calibration(name) if description.calibration != "none" else None
            judged = description.calibration != "none" and not self.trust.allow_bad
            why = (
                distrust(calibration, self.now_us(), stale_after_s=self.trust.stale_after_s)
                if judged
                else None
            )
            if why:
                return Candidate(name, why)
            success = self._use(name, plan.circuit, plan, calibration)[1]
            quote = self.quote_micro_usd(name, plan)
        except (CannotRunError, ProviderUnavailable) as error:
            return Candidate(name, str(error))
        seconds = float(description.queue.run_s(len(plan), plan.shots_total))
        return Candidate(
            device=name,
            cost_micro_usd=quote,
            cost_micro_usd_max=quote,
            wait_s=description.queue.mean_s,
            run_s=seconds,
            success=success,
            bias=predicted_bias(success, spectral_spread(observable)),
            std_error=std_error_of(plan, grouping),
        )

    def _use(
        self, name: str, circuit: Circuit, plan: ExecutionPlan, calibration: Calibration | None
    ) -> tuple[HardwareUse | None, float]:
        """What the circuit does to the hardware where the device can tell, and its predicted success."""
        told = getattr(self.provider(name), "hardware_use", None)
        found = told(plan) if told else None
        if found is not None:
            return found
        return None, 1.0 if calibration is None else _untranspiled_success(circuit, calibration)

    def quote_micro_usd(self, name: str, plan: ExecutionPlan) -> int:
        """Worst case of the whole plan at the price of now: every job that it is split into."""
        description = self.description(name)
        if _in_sandbox(name):
            usage = partial(_sandbox_usage, self.provider(name))
        else:
            use = self._use(name, plan.circuit, plan, None)[0]
            usage = partial(usage_of, device=description, use=use)
        return sum(
            description.price.cost_micro_usd(usage(batch.plan)) for batch in split_plan(plan, description)
        )


def std_error_of(plan: ExecutionPlan, grouping: Grouping) -> float:
    """Standard error of one energy of the plan, from the groups' weights: an upper guide before any shot."""
    first = np.flatnonzero(plan.point == plan.point[0])
    variance = sum(
        grouping.groups[int(plan.basis[row])].weight ** 2 / max(int(plan.shots[row]), 1) for row in first
    )
    return float(np.sqrt(variance))


def fleet_names(devices: Sequence[str] | None) -> tuple[str, ...]:
    """The devices that a spec allows: those it names, else all that are enabled, a sandbox's included."""
    if devices:
        return tuple(devices)
    names = tuple(device.name for device in load_catalog().enabled)
    return names + (_sandbox_names() if os.environ.get(SANDBOX_URL) else ())


def _in_sandbox(name: str) -> bool:
    return name.startswith(SANDBOX_PREFIX)


def _open(name: str, description: DeviceDescription, jobs_folder: Path | None) -> Provider:
    if not _in_sandbox(name):
        return open_provider(description, Surroundings(jobs_folder=jobs_folder))
    from backends.sandbox.adapter import SandboxProvider

    return SandboxProvider(name, _sandbox_url(name), honours_tokens=description.honours_tokens)


def _sandbox_url(name: str) -> str:
    url = os.environ.get(SANDBOX_URL)
    if not url:
        raise CannotRunError(
            "execution.device", name, "no sandbox is named", f"start one and set {SANDBOX_URL} to its address"
        )
    return url


def _sandbox_names() -> tuple[str, ...]:
    from backends.sandbox.devices import load_devices

    return tuple(load_devices())


def _sandbox_description(name: str) -> DeviceDescription:
    """A sandbox's device in the catalog's words, with the price and queue of now."""
    from backends.sandbox.adapter import SandboxProvider

    try:
        with SandboxProvider(name, _sandbox_url(name), honours_tokens=False) as provider:
            told = provider.description()
    except ProviderUnavailable as error:
        raise CannotRunError(
            "execution.device", name, str(error), "check the sandbox's address and key"
        ) from None
    scale = told.queue.wait_scale
    return DeviceDescription(
        name=name,
        provider="sandbox",
        description="a device of the sandbox service",
        n_qubits=told.n_qubits,
        shots_max=told.shots_max,
        circuits_max=told.circuits_max,
        price=told.price,
        queue=QueueModel(
            median_s=float(told.queue.latency_s * scale),
            seconds_per_circuit=told.queue.per_circuit_s,
            seconds_per_shot=told.queue.per_shot_s,
            date=told.price.date or "now",
            source="the sandbox",
        ),
        calibration="none" if name == "sandbox-ideal" else "provider",
        honours_tokens=told.honours_tokens,
        simulated=True,
        enabled=True,
    )


def _sandbox_usage(provider: Provider, plan: ExecutionPlan) -> Usage:
    """A sandbox bills by its own compiler's counts, a task a circuit: it is the one to ask."""
    from backends.sandbox.usage import usage_of as usage_in_sandbox

    return usage_in_sandbox(plan, provider.description().queue)  # pyright: ignore[reportAttributeAccessIssue]


def _untranspiled_success(circuit: Circuit, calibration: Calibration) -> float:
    """Success on an all-to-all device: ladders of 2 (w - 1) two-qubit gates for a Pauli of weight w."""
    pairs = 0
    for index in range(len(circuit)):
        for x, z, _ in circuit.pauli_rotations(index):
            pairs += 2 * max((x | z).bit_count() - 1, 0)
    two_qubit = float(np.median([error for _, error in calibration.two_qubit_error] or [0.0]))
    readout = float(np.median(calibration.readout_error or (0.0,)))
    return (1 - two_qubit) ** pairs * (1 - readout) ** circuit.n_qubits
