"""Device slots as Prefect global concurrency limits: how many jobs may be out at once, seen in the UI."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from httpx import HTTPStatusError, codes
from prefect.client.orchestration import get_client
from prefect.concurrency.asyncio import ConcurrencySlotAcquisitionError
from prefect.concurrency.sync import concurrency
from prefect.exceptions import ObjectNotFound

SLOTS_DEFAULT = 32
_ASK_AGAIN_S = 1.0
_PREFIX = "shotwise-device-"
_known: set[str] = set()


@contextmanager
def device_slot(device: str, sleep: Callable[[float], None] = time.sleep) -> Iterator[None]:
    """Hold one of a device's slots.

    While all are taken, `sleep` is called between questions: what it raises ends the wait.

    A limit that does not exist yet is made with `SLOTS_DEFAULT` slots; one that somebody set is left as it
    is. Slots of a killed process come back when their lease ends.
    """
    name = _PREFIX + device
    _ensure(name)
    with ExitStack() as held:
        while not _taken(held, name):
            sleep(_ASK_AGAIN_S)
        yield


def _taken(held: ExitStack, name: str) -> bool:
    """Take a slot if one is free now. Waiting is ours: Prefect's own wait hears no request to stop."""
    try:
        held.enter_context(concurrency(name, occupy=1, strict=True, max_retries=0))
    except ConcurrencySlotAcquisitionError as error:
        refusal = error.__cause__
        if not isinstance(refusal, HTTPStatusError) or refusal.response.status_code != codes.LOCKED:
            raise
        return False
    return True


def _ensure(name: str) -> None:
    if name in _known:
        return
    with get_client(sync_client=True) as client:
        try:
            client.read_global_concurrency_limit_by_name(name)
        except ObjectNotFound:
            client.upsert_global_concurrency_limit_by_name(name, SLOTS_DEFAULT)
    _known.add(name)
