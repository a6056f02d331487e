"""The devices that a run may use, opened when first needed, and what each would do with a batch."""

from __future__ import annotations

import difflib
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

from backends.calibration import STALE_AFTER_S, Calibration, as_probability, rejection_reason
from backends.catalog import (
    AdapterContext,
    CatalogProvider,
    DeviceDescription,
    DeviceStatus,
    QueueModel,
    jobs_refusal,
    load_catalog,
    open_provider,
)
from backends.dispatch import Candidate
from backends.prediction import UsageOf, Workload, predict, quote_micro_usd, success_untranspiled
from backends.provider import ProviderUnavailable
from backends.transpile.success import HardwareUse, circuit_success
from measurement import ExecutionPlan, Grouping
from measurement.mitigation import Noise
from problems.pauli import PauliSum
from shotwise.errors import CannotRunError, UnreachableError
from shotwise.words import quantity

SANDBOX_URL = "SHOTWISE_SANDBOX_URL"
SANDBOX_PREFIX = "sandbox-"

UNKNOWN_SUCCESS = 0.0
"""Of a device that has errors and tells none: what is not known to work is not chosen."""

_STATUS_KEPT_US = 30 * 1_000_000
_PREDICTIONS_KEPT = 4096


@dataclass(frozen=True)
class CalibrationPolicy:
    """What the spec allows of calibrations."""

    stale_after_s: float = STALE_AFTER_S
    allow_bad: bool = False


@dataclass
class Fleet:
    """Devices by name. Providers are opened once and kept.

    Attributes:
        names: the devices that may be used, in the order in which they are offered.
        jobs_folder: where local providers remember their jobs across processes.
        secret: a credential by name, asked when a device that needs it is opened, and never kept here.
    """

    names: tuple[str, ...]
    jobs_folder: Path | None = None
    calibration_policy: CalibrationPolicy = CalibrationPolicy()
    now_us: Callable[[], int] = lambda: time.time_ns() // 1000
    secret: Callable[[str], str | None] = field(default=os.environ.get, repr=False)
    _providers: dict[str, CatalogProvider] = field(default_factory=dict, repr=False)
    _descriptions: dict[str, DeviceDescription] = field(default_factory=dict, repr=False)
    _statuses: dict[str, tuple[int, DeviceStatus]] = field(default_factory=dict, repr=False)
    _predictions: dict[tuple, Candidate] = field(default_factory=dict, repr=False)

    def description(self, name: str) -> DeviceDescription:
        """What is known of a device before a job.

        Raises:
            CannotRunError: there is no such device.
            UnreachableError: its sandbox does not answer.
        """
        if name not in self._descriptions:
            self._descriptions[name] = (
                _sandbox_description(name) if _in_sandbox(name) else load_catalog()[name]
            )
        return self._descriptions[name]

    def provider(self, name: str) -> CatalogProvider:
        """The device, ready for jobs.

        Raises:
            CannotRunError: it cannot be opened.
            ProviderUnavailable: its sandbox does not answer.
        """
        if name not in self._providers:
            self._providers[name] = self._open(name)
        return self._providers[name]

    def forget(self, name: str) -> None:
        """Ask for a device's description again when it is next needed: its price or queue has changed."""
        self._descriptions.pop(name, None)

    def _open(self, name: str) -> CatalogProvider:
        if not _in_sandbox(name):
            context = AdapterContext(secret=self.secret, jobs_folder=self.jobs_folder)
            return open_provider(self.description(name), context)
        from backends.sandbox.adapter import SandboxProvider

        return SandboxProvider.open(name, _sandbox_url(name))

    def __enter__(self) -> Fleet:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close idle connections; the devices open again when needed."""
        for provider in self._providers.values():
            provider.close()
        self._providers.clear()

    def calibration(self, name: str) -> Calibration | None:
        """Its latest calibration, None where it publishes none. Raises ProviderUnavailable."""
        return self.provider(name).calibration(self.now_us())

    def calibration_json(self, name: str) -> str | None:
        """The latest calibration for the journal, None where there is none or it cannot be had now."""
        try:
            calibration = self.calibration(name)
        except ProviderUnavailable:
            return None
        return None if calibration is None else json.dumps(asdict(calibration))

    def candidates(self, plan: ExecutionPlan, grouping: Grouping, observable: PauliSum) -> list[Candidate]:
        """Every device's predictions for the batch, with the reason where it cannot take it."""
        workload = Workload.of(plan, grouping, observable)
        return [self._candidate(name, workload) for name in self.names]

    def _candidate(self, name: str, workload: Workload) -> Candidate:
        n_qubits = workload.plan.circuit.n_qubits
        try:
            description = self.description(name)
            if n_qubits > description.n_qubits:
                return Candidate(
                    name, f"{quantity(n_qubits, 'qubit')}, the device has {description.n_qubits}"
                )
            calibration = self.calibration(name) if description.calibration != "none" else None
            if why := self._rejection_reason(description, calibration):
                return Candidate(name, why)
            if not description.verbatim and workload.plan.bases.varied:
                return Candidate(name, "compiles circuits itself, so folds and flips would be lost")
            if why := jobs_refusal(workload.plan, description):
                return Candidate(name, why)
            status = self._status(name)
            if not status.online:
                return Candidate(name, f"offline: {status.message}" if status.message else "offline")
            predicted = self._predicted(name, workload, calibration)
        except UnreachableError as error:
            return Candidate(name, error.reason, silent=True)
        except ProviderUnavailable as error:
            return Candidate(name, str(error), silent=True)
        except CannotRunError as error:
            return Candidate(name, error.reason)
        return replace(predicted, waiting_jobs=status.queue_length) if status.queue_length else predicted

    def _rejection_reason(
        self, description: DeviceDescription, calibration: Calibration | None
    ) -> str | None:
        if description.calibration == "none" or self.calibration_policy.allow_bad:
            return None
        return rejection_reason(
            calibration, self.now_us(), stale_after_s=self.calibration_policy.stale_after_s
        )

    def _status(self, name: str) -> DeviceStatus:
        """Whether the device takes jobs and how many wait; asked at most every `_STATUS_KEPT_US`."""
        known = self._statuses.get(name)
        if known is None or not 0 <= self.now_us() - known[0] < _STATUS_KEPT_US:
            known = self._statuses[name] = (self.now_us(), self.provider(name).status())
        return known[1]

    def _predicted(self, name: str, workload: Workload, calibration: Calibration | None) -> Candidate:
        """Predictions change with the batch's shape and the calibration, not with the circuit's angles.

        A sandbox's queue and price move all the time, so that it is asked anew.
        """
        key = (name, workload.key, None if calibration is None else calibration.errors)
        known = self._predictions.get(key)  # asked once: the key is long
        if known is not None and not _in_sandbox(name):
            return known
        description = self.description(name)
        use, success = self._use(name, workload.plan, calibration)
        uncalibrated = calibration is None and description.calibration != "none"
        predicted = predict(
            workload, description, UNKNOWN_SUCCESS if uncalibrated else success, self._usage(name, use)
        )
        predicted = replace(predicted, uncalibrated=uncalibrated)
        if len(self._predictions) >= _PREDICTIONS_KEPT:
            self._predictions.clear()
        self._predictions[key] = predicted
        return predicted

    def _use(
        self, name: str, plan: ExecutionPlan, calibration: Calibration | None
    ) -> tuple[HardwareUse | None, float]:
        """What the circuit does to the hardware where the device can tell, and its predicted success.

        Without a calibration that of a device without errors.
        """
        found = self.provider(name).hardware_use(plan)
        if found is not None:
            return found
        return None, 1.0 if calibration is None else success_untranspiled(plan.circuit, calibration)

    def noise(self, name: str, plan: ExecutionPlan) -> tuple[Noise, tuple[int, ...]] | None:
        """A device's noise for the plan's circuit, and the physical qubits that ours are read on.

        None where the device tells no errors, or places and compiles circuits itself.
        """
        if not self.description(name).verbatim:
            return None
        found, calibration = self.provider(name).hardware_use(plan), self.calibration(name)
        if found is None or calibration is None:
            return None
        use = found[0]
        errors = tuple(as_probability(calibration.readout_error[physical]) for physical in use.layout)
        return Noise(circuit_success(use, calibration), errors), use.layout

    def quote_micro_usd(self, name: str, plan: ExecutionPlan) -> int:
        """Worst case of the whole plan at the price of now: every job that it is split into."""
        use = self._use(name, plan, None)[0]
        return quote_micro_usd(plan, self.description(name), self._usage(name, use))

    def _usage(self, name: str, use: HardwareUse | None) -> UsageOf:
        return partial(self.provider(name).usage, use=use)


def fleet_names(devices: Sequence[str] | None) -> tuple[str, ...]:
    """The devices that a spec allows: those it names, else all that are enabled, a sandbox's included."""
    if devices:
        return tuple(devices)
    names = tuple(device.name for device in load_catalog().enabled)
    return names + (_sandbox_names() if os.environ.get(SANDBOX_URL) else ())


def _in_sandbox(name: str) -> bool:
    return name.startswith(SANDBOX_PREFIX)


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
    from backends.sandbox.adapter import DeviceUnknown, SandboxProvider

    try:
        with SandboxProvider(name, _sandbox_url(name), honours_tokens=False) as provider:
            remote = provider.description()
    except DeviceUnknown:
        close = difflib.get_close_matches(name, _sandbox_names(), n=3)
        remedy = f"did you mean {' or '.join(close)}? " if close else ""
        remedy += "`shotwise devices --all` lists them all"
        raise CannotRunError("execution.device", name, "no such device", remedy) from None
    except ProviderUnavailable as error:
        raise UnreachableError(
            "execution.device", name, str(error), "check the sandbox's address and key"
        ) from None
    scale = remote.queue.wait_scale
    return DeviceDescription(
        name=name,
        provider="sandbox",
        description="a device of the sandbox service",
        n_qubits=remote.n_qubits,
        shots_max=remote.shots_max,
        circuits_max=remote.circuits_max,
        price=remote.price,
        queue=QueueModel(
            median_s=float(remote.queue.latency_s * scale),
            seconds_per_circuit=remote.queue.per_circuit_s,
            seconds_per_shot=remote.queue.per_shot_s,
            date=remote.price.date or "now",
            source="the sandbox",
        ),
        calibration="none" if name == "sandbox-ideal" else "provider",
        enabled=True,
    )
