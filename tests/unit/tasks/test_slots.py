"""Device slots: who makes a device's limit first."""

from contextlib import nullcontext
from types import SimpleNamespace

import pytest
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound

from tasks import slots


def test_two_drivers_may_make_a_limit_at_the_same_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def read(name: str) -> None:
        asked.append("read")
        raise ObjectNotFound(http_exc=RuntimeError("404"))

    def make(name: str, limit: int) -> None:
        asked.append("make")
        raise ObjectAlreadyExists(http_exc=RuntimeError("409: the other driver was first"))

    client = SimpleNamespace(
        read_global_concurrency_limit_by_name=read, upsert_global_concurrency_limit_by_name=make
    )
    monkeypatch.setattr(slots, "get_client", lambda sync_client: nullcontext(client))
    monkeypatch.setattr(slots, "_known", set())
    slots._ensure("shotwise-device-new")
    slots._ensure("shotwise-device-new")
    assert asked == ["read", "make"]
