"""Device slots: who makes a device's limit first, what is waited for, and when a slot comes back."""

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID, uuid4

import httpx
import pytest
from prefect.exceptions import ObjectAlreadyExists

from tasks import slots

LIMIT = {"id": str(uuid4()), "name": "shotwise-device-new", "limit": 32}
NO_SUCH_LIMIT: list[dict[str, object]] = []


class Server:
    """What Prefect's server answers to one question after the other, and what it was asked."""

    def __init__(self, *answers: int | type[httpx.TransportError] | list[dict[str, object]]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []
        self.lease = uuid4()

    @contextmanager
    def client(self, sync_client: bool) -> Iterator["Server"]:
        assert sync_client
        yield self

    def increment_concurrency_slots_with_lease(self, names, slots, mode, lease_s, holder) -> httpx.Response:
        assert (names, slots, mode, holder) == (["shotwise-device-new"], 1, "concurrency", None)
        self.asked.append("lease")
        answer, request = self.answers.pop(0), httpx.Request("POST", "http://127.0.0.1/")
        if isinstance(answer, list):
            return httpx.Response(200, json={"lease_id": str(self.lease), "limits": answer})
        if isinstance(answer, int):
            raise httpx.HTTPStatusError("", request=request, response=httpx.Response(answer))
        raise answer("")

    def create_global_concurrency_limit(self, limit) -> UUID:
        self.asked.append("make")
        raise ObjectAlreadyExists(http_exc=RuntimeError("409: the other driver was first"))

    def release_concurrency_slots_with_lease(self, lease: UUID) -> None:
        assert lease == self.lease
        self.asked.append("release")

    def renew_concurrency_lease(self, lease: UUID, lease_s: float) -> None:
        assert lease == self.lease
        self.asked.append("renew")
        if self.asked.count("renew") == 1:
            raise httpx.ConnectError("away for a moment")


def hold(server: Server, monkeypatch: pytest.MonkeyPatch, then=lambda: None) -> None:
    monkeypatch.setattr(slots, "get_client", server.client)
    with slots.device_slot("new", sleep=lambda _: server.asked.append("sleep")):
        server.asked.append("job")
        then()


def test_two_drivers_may_make_a_limit_at_the_same_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(NO_SUCH_LIMIT, [LIMIT])
    hold(server, monkeypatch)
    assert server.asked == ["lease", "make", "lease", "job", "release"]


@pytest.mark.parametrize("answer", [423, 422, 503, httpx.ConnectError])
def test_a_slot_is_waited_for(monkeypatch: pytest.MonkeyPatch, answer) -> None:
    """All are taken, a limit of 0 gives none, or the server is away."""
    server = Server(answer, answer, [LIMIT])
    hold(server, monkeypatch)
    assert server.asked == ["lease", "sleep", "lease", "sleep", "lease", "job", "release"]


def test_a_server_that_stays_away_does_not_keep_paid_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "_AWAY_S_MAX", 0.0)
    server = Server(httpx.ConnectError)
    hold(server, monkeypatch)
    assert server.asked == ["lease", "job"]


def test_other_refusals_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(httpx.HTTPStatusError):
        hold(Server(401), monkeypatch)


def test_the_slot_of_a_long_job_is_renewed_and_of_a_failed_one_given_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(slots, "_RENEW_AFTER_S", 0.001)
    server = Server([LIMIT])

    def wait_for_renewals() -> None:
        while server.asked.count("renew") < 2:
            pass
        raise InterruptedError

    with pytest.raises(InterruptedError):
        hold(server, monkeypatch, wait_for_renewals)
    assert server.asked[-1] == "release"
