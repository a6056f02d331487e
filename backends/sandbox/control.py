"""The sandbox's hidden hand: faults and the clock, for tests, demos and drills."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from pydantic import BaseModel, SecretStr

from backends.provider import ProviderUnavailable
from backends.sandbox.connection import Connection, NoAnswer, NotSent, Timeouts, key_from_environment
from backends.sandbox.faults import (
    ABSORBED_KINDS,
    FaultKind,
    FaultList,
    FaultSpec,
    FaultStatus,
    RandomFaults,
)
from backends.sandbox.messages import ClockAnswer, ClockSetting, DeviceDescription, DeviceList

M = TypeVar("M", bound=BaseModel)


class SandboxControl:
    """Commands to a running sandbox. Every method raises ProviderUnavailable where it is not reached."""

    def __init__(self, url: str, *, key: SecretStr | None = None) -> None:
        self._connection = Connection(url, key or key_from_environment(), Timeouts())

    def __repr__(self) -> str:
        return f"SandboxControl({self._connection.url!r})"

    def healthy(self) -> bool:
        """Whether it answers, with this key."""
        try:
            return self._connection.send("GET", "/v1/health").status == 200
        except (NotSent, NoAnswer):
            return False

    def devices(self) -> tuple[DeviceDescription, ...]:
        return self._do("GET", "/v1/devices", DeviceList).devices

    def inject(self, spec: FaultSpec) -> None:
        """Add one fault."""
        self._do("POST", "/control/faults", FaultList, spec)

    def inject_random(
        self,
        seed: int,
        rate: float,
        *,
        kinds: Sequence[FaultKind] = ABSORBED_KINDS,
        device: str | None = None,
        seconds: float | None = None,
    ) -> None:
        """Add a campaign: each kind fires at `rate` of its opportunities, with these `seconds`."""
        campaign = RandomFaults(seed=seed, rate=rate, kinds=tuple(kinds), device=device, seconds=seconds)
        self._do("POST", "/control/faults/random", FaultList, campaign)

    def faults(self) -> tuple[FaultStatus, ...]:
        """Every fault injected so far, cleared ones too."""
        return self._do("GET", "/control/faults", FaultList).faults

    def fired(self, kind: FaultKind) -> int:
        """How often a kind has fired in this folder's life."""
        return sum(status.fired for status in self.faults() if status.spec.kind is kind)

    def clear(self) -> None:
        """No fault fires any more; counts stay."""
        self._do("DELETE", "/control/faults", FaultList)

    def now_us(self) -> int:
        """The sandbox's time, microseconds since the epoch, UTC."""
        return self._do("GET", "/control/clock", ClockAnswer).now_us

    def advance(self, seconds: float) -> None:
        """Move its clock, also back. Durable, like everything there."""
        self._do("POST", "/control/clock", ClockAnswer, ClockSetting(advance_s=seconds))

    def set_clock_offset(self, seconds: float) -> None:
        """Put its clock `seconds` ahead of this machine's."""
        self._do("POST", "/control/clock", ClockAnswer, ClockSetting(offset_s=seconds))

    def close(self) -> None:
        self._connection.close()

    def _do(self, method: str, path: str, message: type[M], body: BaseModel | None = None) -> M:
        try:
            answer = self._connection.send(method, path, body)
            if answer.status == 200:
                return answer.read(message)
        except (NotSent, NoAnswer) as error:
            raise ProviderUnavailable(f"sandbox control: {error}") from None
        raise ProviderUnavailable(f"sandbox control: {answer}")
