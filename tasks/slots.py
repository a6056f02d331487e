"""Device slots as Prefect global concurrency limits: how many jobs may be out at once, seen in the UI.

Slots are leased through the client that a task run has open already. Prefect's own context manager makes
three new ones for each slot, and waits without hearing a request to stop.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from enum import Enum, auto
from uuid import UUID

from httpx import HTTPError, HTTPStatusError, codes
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
from prefect.client.schemas.objects import ConcurrencyLeaseHolder
from prefect.client.schemas.responses import ConcurrencyLimitWithLeaseResponse
from prefect.context import TaskRunContext
from prefect.exceptions import ObjectAlreadyExists

SLOTS_DEFAULT = 32
_ASK_AGAIN_S = 1.0
_PREFIX = "shotwise-device-"
_AWAY_S_MAX = 120.0
_LEASE_S = 300.0
_RENEW_AFTER_S = 100.0
_NONE_FREE = (codes.LOCKED, codes.UNPROCESSABLE_ENTITY)
"""All slots are taken; the limit has none, as where somebody set it to 0 to spare a device."""
_counting = threading.Lock()
_log = logging.getLogger(__name__)


class _NoSlot(Enum):
    TAKEN = auto()
    AWAY = auto()


@contextmanager
def device_slot(device: str, sleep: Callable[[float], None] = time.sleep) -> Iterator[None]:
    """Hold one of a device's slots.

    While all are taken, `sleep` is called between questions: what it raises ends the wait.

    A limit that does not exist yet is made with `SLOTS_DEFAULT` slots; one that somebody set is left as it
    is. Slots of a killed process come back when their lease ends. A server that is away is waited for
    `_AWAY_S_MAX`; after that, work that is paid for goes on without a slot: the vendor limits it, too.
    """
    lease = _wait_for_slot(_PREFIX + device, sleep)
    if lease is None:
        _log.warning("no slot of %s: Prefect's server is away; going on without", device)
        yield
        return
    with _kept(lease):
        yield


def _wait_for_slot(name: str, sleep: Callable[[float], None]) -> UUID | None:
    """The lease of a slot; None where the server was away for too long."""
    give_up = time.monotonic() + _AWAY_S_MAX
    while isinstance(found := _take(name), _NoSlot):
        if found is _NoSlot.TAKEN:
            give_up = time.monotonic() + _AWAY_S_MAX  # it answers
        elif time.monotonic() > give_up:
            return None
        sleep(_ASK_AGAIN_S)
    return found


def _take(name: str) -> UUID | _NoSlot:
    try:
        leased = _lease(name)
        if not leased.limits:  # Prefect gives a lease of nothing where there is no such limit
            _make(name)
            leased = _lease(name)
    except HTTPStatusError as error:
        if error.response.status_code in _NONE_FREE:
            return _NoSlot.TAKEN
        if error.response.is_server_error:
            return _NoSlot.AWAY
        raise
    except HTTPError:
        return _NoSlot.AWAY
    return leased.lease_id


def _lease(name: str) -> ConcurrencyLimitWithLeaseResponse:
    context = TaskRunContext.get()
    holder = None if context is None else ConcurrencyLeaseHolder(type="task_run", id=context.task_run.id)
    with _client() as client:
        answer = client.increment_concurrency_slots_with_lease([name], 1, "concurrency", _LEASE_S, holder)
    return ConcurrencyLimitWithLeaseResponse.model_validate(answer.json())


def _make(name: str) -> None:
    # another driver may have made it since
    with _client() as client, suppress(ObjectAlreadyExists):
        client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=name, limit=SLOTS_DEFAULT))


@contextmanager
def _client() -> Iterator[SyncPrefectClient]:
    """The task run's client, open until its last user leaves; threads that share it count one at a time."""
    shared = get_client(sync_client=True)
    with _counting:
        client = shared.__enter__()
    try:
        yield client
    finally:
        with _counting:
            shared.__exit__(None, None, None)


@contextmanager
def _kept(lease: UUID) -> Iterator[None]:
    """Renew a lease until the block ends, then give the slot back: at once, or when the lease ends."""
    over = threading.Event()
    renewing = threading.Thread(target=_renew, args=(lease, over), name="slot", daemon=True)
    renewing.start()
    try:
        yield
    finally:
        over.set()
        with suppress(HTTPError), _client() as client:
            client.release_concurrency_slots_with_lease(lease)


def _renew(lease: UUID, over: threading.Event) -> None:
    while not over.wait(_RENEW_AFTER_S):
        try:
            with _client() as client:
                client.renew_concurrency_lease(lease, _LEASE_S)
        except HTTPError as error:
            if not over.is_set():
                _log.warning("a device's slot could not be renewed: %s", error)
