"""Device slots as Prefect global concurrency limits: how many jobs may be out at once, seen in the UI."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress

from httpx import HTTPError, HTTPStatusError, codes
from prefect.client.orchestration import get_client
from prefect.concurrency.asyncio import ConcurrencySlotAcquisitionError
from prefect.concurrency.sync import concurrency
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound

SLOTS_DEFAULT = 32
_ASK_AGAIN_S = 1.0
_PREFIX = "shotwise-device-"
_AWAY_S_MAX = 120.0
_known: set[str] = set()
_log = logging.getLogger(__name__)


@contextmanager
def device_slot(device: str, sleep: Callable[[float], None] = time.sleep) -> Iterator[None]:
    """Hold one of a device's slots.

    While all are taken, `sleep` is called between questions: what it raises ends the wait.

    A limit that does not exist yet is made with `SLOTS_DEFAULT` slots; one that somebody set is left as it
    is. Slots of a killed process come back when their lease ends. A server that is away is waited for
    `_AWAY_S_MAX`; after that, work that is paid for goes on without a slot: the vendor limits it, too.
    """
    name = _PREFIX + device
    give_up = time.monotonic() + _AWAY_S_MAX
    with ExitStack() as held:
        while not (taken := _taken(held, name)):
            if taken is not None:
                give_up = time.monotonic() + _AWAY_S_MAX  # it answers: all slots are taken
            elif time.monotonic() > give_up:
                _log.warning("no slot of %s: Prefect's server is away; going on without", device)
                break
            sleep(_ASK_AGAIN_S)
        yield


def _taken(held: ExitStack, name: str) -> bool | None:
    """Whether a slot is now held until the stack closes; None where the server does not answer.

    Waiting is ours: Prefect's own wait hears no request to stop.
    """
    try:
        _ensure(name)
        slot = concurrency(name, occupy=1, strict=True, max_retries=0, raise_on_lease_renewal_failure=False)
        held.enter_context(_given_back(slot))
    except ConcurrencySlotAcquisitionError as error:
        refusal = error.__cause__
        if isinstance(refusal, HTTPStatusError) and refusal.response.status_code == codes.LOCKED:
            return False
        if isinstance(refusal, HTTPError) and not isinstance(refusal, HTTPStatusError):
            return None
        raise
    except HTTPError:
        return None
    return True


@contextmanager
def _given_back(slot: AbstractContextManager[None]) -> Iterator[None]:
    """A slot that cannot be given back now comes back when its lease ends."""
    slot.__enter__()
    try:
        yield
    finally:
        with suppress(HTTPError):
            slot.__exit__(None, None, None)


def _ensure(name: str) -> None:
    if name in _known:
        return
    with get_client(sync_client=True) as client:
        try:
            client.read_global_concurrency_limit_by_name(name)
        except ObjectNotFound:
            with suppress(ObjectAlreadyExists):  # another driver made it since
                client.upsert_global_concurrency_limit_by_name(name, SLOTS_DEFAULT)
    _known.add(name)
