"""Device slots as Prefect global concurrency limits: how many jobs may be out at once, seen in the UI."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prefect.client.orchestration import get_client
from prefect.concurrency.sync import concurrency
from prefect.exceptions import ObjectNotFound

SLOTS_DEFAULT = 32
_PREFIX = "shotwise-device-"
_known: set[str] = set()


@contextmanager
def device_slot(device: str) -> Iterator[None]:
    """Hold one of a device's slots.

    A limit that does not exist yet is made with `SLOTS_DEFAULT` slots; one that somebody set is left as it
    is. Slots of a killed process come back when their lease ends.
    """
    name = _PREFIX + device
    _ensure(name)
    with concurrency(name, occupy=1, strict=True):
        yield


def _ensure(name: str) -> None:
    if name in _known:
        return
    with get_client(sync_client=True) as client:
        try:
            client.read_global_concurrency_limit_by_name(name)
        except ObjectNotFound:
            client.upsert_global_concurrency_limit_by_name(name, SLOTS_DEFAULT)
    _known.add(name)
