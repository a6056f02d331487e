"""One HTTP connection pool to the sandbox: bounded in time and size, and precise about what was sent.

The one thing that a paid call must know of a failure is whether the request may have reached the other side.
Here that is a type: `NotSent` only where no byte of the request left, `NoAnswer` for everything else.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import httpx
from pydantic import BaseModel, SecretStr, ValidationError

from backends.http_errors import refused_header, text_of
from backends.retry_after import retry_after_s
from backends.sandbox.messages import Problem, Refusal
from backends.sandbox.wire import BODY_BYTES_MAX
from shotwise.errors import UNSHOWN, CannotRunError

KEY_VARIABLE = "SHOTWISE_SANDBOX_KEY"
ADDRESS_FILE = "address"
"""In the service's folder: where it listens."""
_IDLE_S = 2.0
"""Shorter than the service keeps idle connections, so that a request rarely meets one that it just closed."""
_CONNECTIONS_MAX = 32

Query: TypeAlias = Mapping[str, str | int]

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True)
class Timeouts:
    """How long to wait; reading covers the service's own work."""

    connect_s: float = 3.0
    write_s: float = 10.0
    read_s: float = 30.0


class NotSent(Exception):  # noqa: N818
    """Nothing left this machine: the other side certainly saw nothing."""


class NoAnswer(Exception):  # noqa: N818
    """The request may have been seen, and no usable answer came."""


@dataclass(frozen=True)
class Answer:
    """A complete HTTP answer.

    Attributes:
        problem: what the service itself says is wrong; None where something between us answered.
        retry_after_s: how long it asked to wait.
    """

    status: int
    body: bytes
    problem: Problem | None
    retry_after_s: float | None

    @property
    def code(self) -> str:
        return self.problem.code if self.problem else ""

    def __str__(self) -> str:
        return f"HTTP {self.status}" + (f" {self.code}: {self.problem.message[:200]}" if self.problem else "")

    def read(self, message: type[M]) -> M:
        """The body as a message.

        Raises:
            NoAnswer: it is no such message.
        """
        try:
            return message.model_validate_json(self.body)
        except ValidationError as error:
            # the errors are counted, not shown: they quote the body
            raise NoAnswer(f"HTTP {self.status} with {error.error_count()} errors in its body") from None


class Connection:
    """Requests to one address with one key. Thread-safe; the key appears in no text this class makes."""

    def __init__(self, url: str, key: SecretStr, timeouts: Timeouts) -> None:
        self.url = _checked_url(url)
        self._client = httpx.Client(
            base_url=self.url,
            auth=_Bearer(key),
            timeout=httpx.Timeout(
                connect=timeouts.connect_s,
                read=timeouts.read_s,
                write=timeouts.write_s,
                pool=timeouts.connect_s,
            ),
            limits=httpx.Limits(max_connections=_CONNECTIONS_MAX, keepalive_expiry=_IDLE_S),
            follow_redirects=False,
            trust_env=False,  # no proxy and no .netrc that the environment slips in
        )

    def __repr__(self) -> str:
        return f"Connection({self.url!r})"

    def send(
        self, method: str, path: str, body: BaseModel | None = None, query: Query | None = None
    ) -> Answer:
        """One request, one attempt.

        Raises:
            NotSent: nothing left this machine.
            NoAnswer: something may have, and no complete answer came back.
        """
        content = None if body is None else body.model_dump_json()
        headers = {} if body is None else {"Content-Type": "application/json"}
        try:
            with self._client.stream(
                method, path, content=content, headers=headers, params=query
            ) as response:
                data = _bounded(response)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise NotSent(_clause(error)) from None
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            raise (NotSent if refused_header(error) else NoAnswer)(_clause(error)) from None
        wait_s = retry_after_s(response.headers.get("Retry-After", ""))
        return Answer(response.status_code, data, _problem(response, data), wait_s)

    def close(self) -> None:
        self._client.close()


def key_from_environment() -> SecretStr:
    """The API key.

    Raises:
        CannotRunError: it is not set.
    """
    key = os.environ.get(KEY_VARIABLE, "").strip()
    if not key:
        raise CannotRunError(KEY_VARIABLE, UNSHOWN, "no API key", "set it to the key the sandbox runs with")
    return SecretStr(key)


class _Bearer(httpx.Auth):
    """Adds the key to a request at the last moment, so that no client or header table holds it."""

    def __init__(self, key: SecretStr) -> None:
        self._key = key

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers["Authorization"] = f"Bearer {self._key.get_secret_value()}"
        yield request


def _checked_url(url: str) -> str:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise CannotRunError("sandbox.url", url, str(error), "write http://HOST:PORT") from None
    if parsed.userinfo:
        raise CannotRunError(
            "sandbox.url", parsed.host, "holds credentials", f"put the key into {KEY_VARIABLE}"
        )
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise CannotRunError("sandbox.url", url, "not an HTTP address", "write http://HOST:PORT")
    return str(parsed).rstrip("/")


def _bounded(response: httpx.Response) -> bytes:
    data = bytearray()
    for part in response.iter_bytes():
        data += part
        if len(data) > BODY_BYTES_MAX:
            raise NoAnswer(f"an answer of more than {BODY_BYTES_MAX} bytes")
    return bytes(data)


def _clause(error: Exception) -> str:
    return f"{type(error).__name__}: {text_of(error)}".removesuffix(": ")


def _problem(response: httpx.Response, data: bytes) -> Problem | None:
    if response.status_code < 400:
        return None
    try:
        return Refusal.model_validate_json(data).error
    except ValidationError:
        return None
