"""The sandbox's HTTP: keys, bounds, its process; and how the adapter takes what no sandbox would answer."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator
from dataclasses import replace
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import numpy as np
import pytest
from pydantic import SecretStr

from backends.provider import ProviderUnavailable, SubmitRejected, SubmitUnknown
from backends.sandbox import KEY_VARIABLE, SandboxControl, SandboxProcess, SandboxProvider, Timeouts
from measurement import Bases, ExecutionPlan
from problems.circuit import Circuit, Rotation
from shotwise.errors import CannotRunError

SECRET = "a-secret-that-must-not-be-seen-anywhere"
KEY = SecretStr(SECRET)


def make_plan() -> ExecutionPlan:
    circuit = Circuit.build(1, [Rotation(1, 0, None, 0)])
    zero = np.array([0])
    bases = Bases(zero, zero)
    return ExecutionPlan(circuit, circuit.angles(np.zeros((1, 1))), bases, zero, zero, np.array([10]), (1,))


PLAN = make_plan()


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    with SandboxProcess(tmp_path_factory.mktemp("sandbox"), queue_scale=0, key=KEY) as process:
        yield process


@pytest.fixture
def http(process: SandboxProcess) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=process.url, headers={"Authorization": f"Bearer {SECRET}"}) as client:
        yield client


# --- Who may ask, and how much ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["/v1/health", "/v1/devices", "/control/faults", "/openapi.json", "/nowhere"]
)
@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer wrong", SECRET, f"bearer {SECRET}", "Bearer é"]
)
def test_every_path_needs_the_key(process: SandboxProcess, path: str, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header.encode()}
    answer = httpx.get(process.url + path, headers=headers)
    assert answer.status_code == 401
    assert SECRET not in answer.text


def test_a_wrong_key_is_told_as_such_and_never_repeated(process: SandboxProcess) -> None:
    wrong = SecretStr("another-secret-of-sufficient-length")
    with pytest.raises(ProviderUnavailable, match="401") as error:
        SandboxProvider.open("sandbox-ideal", process.url, key=wrong)
    assert wrong.get_secret_value() not in "".join(traceback.format_exception(error.value))
    provider = SandboxProvider("sandbox-ideal", process.url, honours_tokens=True, key=wrong)
    with pytest.raises(SubmitRejected) as refusal:
        provider.submit(PLAN, "token")
    assert refusal.value.permanent
    provider.close()


def test_bodies_are_bounded(http: httpx.Client) -> None:
    path = "/v1/devices/sandbox-ideal/jobs"
    connection = HTTPConnection(http.base_url.host, http.base_url.port)
    for length in (str(1 << 40), "9" * 5000):
        connection.putrequest("POST", path)
        connection.putheader("Authorization", f"Bearer {SECRET}")
        connection.putheader("Content-Length", length)
        connection.endheaders()
        assert connection.getresponse().status in (400, 413)
        connection.close()
    assert http.post(path, content=iter([b"{}"])).status_code == 411


@pytest.mark.parametrize(
    "body",
    ["", "{", "[]", "null", '{"token": "a"}', "[" * 100_000, '{"token": "a", "plan": {"x": NaN}}', "\0"],
)
def test_nonsense_is_refused_and_harms_nothing(http: httpx.Client, body: str) -> None:
    answer = http.post("/v1/devices/sandbox-ideal/jobs", content=body)
    assert answer.status_code in (400, 422)
    assert http.get("/v1/health").status_code == 200


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/devices/nothing", 404),
        ("/v1/devices/nothing/bill", 404),
        ("/v1/devices/nothing/jobs?tag=a", 404),
        ("/v1/devices/sandbox-ideal/jobs", 422),
        ("/v1/devices/sandbox-ideal/jobs?tag=a&token=a", 422),
        ("/v1/devices/sandbox-ideal/jobs?tag=a%2F..%2Fb", 422),
        ("/v1/devices/sandbox-cheap/jobs?token=a", 400),
        ("/v1/devices/sandbox-ideal/bill?after=-1", 422),
        ("/v1/jobs/%2e%2e", 404),
        ("/docs", 404),
    ],
)
def test_what_is_not_there_is_said_so(http: httpx.Client, path: str, status: int) -> None:
    assert http.get(path).status_code == status


def test_jobs_are_found_by_token_too(http: httpx.Client, process: SandboxProcess) -> None:
    job_id = process.provider("sandbox-ideal").submit(PLAN, "by-token")
    answer = http.get("/v1/devices/sandbox-ideal/jobs", params={"token": "by-token"})
    assert answer.json() == {"job_ids": [job_id]}


def test_the_clock_moves_both_ways(process: SandboxProcess) -> None:
    control = process.control()
    before = control.now_us()
    control.advance(1000)
    control.advance(-5000)
    assert control.now_us() < before
    control.set_clock_offset(0)
    assert control.now_us() >= before


# --- No secret in any text ----------------------------------------------------------------------------------


def test_no_text_shows_the_key(process: SandboxProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, SECRET)
    with SandboxProvider.open("sandbox-ideal", process.url) as provider:
        texts = [repr(process), repr(provider), str(provider), repr(process.control()), repr(vars(provider))]
        provider.submit(PLAN, "secret")
    dead = SandboxProvider("sandbox-ideal", "http://127.0.0.1:9", honours_tokens=True)
    with pytest.raises(SubmitRejected) as error:
        dead.submit(PLAN, "secret")
    texts += traceback.format_exception(error.value)
    dead.close()
    for file in process.folder.iterdir():
        texts.append(file.read_bytes().decode("latin-1"))
    assert all(SECRET not in text for text in texts)
    assert (process.folder / "sandbox.db").stat().st_mode & 0o077 == 0


def test_a_key_that_cannot_be_sent_is_a_refusal_that_does_not_quote_it(process: SandboxProcess) -> None:
    broken = SecretStr(f"{SECRET}\n")
    with SandboxProvider("sandbox-ideal", process.url, honours_tokens=True, key=broken) as provider:
        with pytest.raises(SubmitRejected, match="check the credentials") as refused:
            provider.submit(PLAN, "never-sent")
        with pytest.raises(ProviderUnavailable) as unanswered:
            provider.find("never-sent")
    assert SECRET not in f"{refused.value} {unanswered.value}"


def test_a_key_from_a_file_may_end_with_a_line_break(
    process: SandboxProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, f"{KEY.get_secret_value()}\n")
    with SandboxProvider.open("sandbox-ideal", process.url) as provider:
        assert provider.find("nobody") == []


def test_without_a_key_nothing_starts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    with pytest.raises(CannotRunError, match=KEY_VARIABLE):
        SandboxProvider("sandbox-ideal", "http://127.0.0.1:9", honours_tokens=True)
    with pytest.raises(CannotRunError, match="no usable API key"):
        SandboxProcess(tmp_path, key=SecretStr("short")).start()


@pytest.mark.parametrize(
    "url", ["", "nothing", "ftp://a", "http://", f"http://user:{SECRET}@127.0.0.1", "http://[::"]
)
def test_an_address_that_cannot_be_meant(url: str) -> None:
    with pytest.raises(CannotRunError, match=r"sandbox\.url") as error:
        SandboxControl(url, key=KEY)
    assert SECRET not in str(error.value)


# --- The process --------------------------------------------------------------------------------------------


def test_a_folder_serves_one_process(process: SandboxProcess) -> None:
    second = subprocess.run(
        [sys.executable, "-m", "backends.sandbox.serve", f"--folder={process.folder}"],
        env={**os.environ, KEY_VARIABLE: SECRET},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert second.returncode == 3
    assert "another sandbox serves it" in second.stderr
    assert "Traceback" not in second.stderr
    assert process.control().healthy()


def test_stop_and_kill_end_it_and_start_brings_it_back(tmp_path: Path) -> None:
    process = SandboxProcess(tmp_path, key=KEY)
    with pytest.raises(CannotRunError):
        _ = process.url
    with process:
        provider, url, first = process.provider("sandbox-ideal"), process.url, process.pid
        job_id = provider.submit(PLAN, "token")
        process.stop()
        process.stop()
        assert process.pid is None
        process.start()
        process.start()
        assert (process.url, process.pid != first) == (url, True)
        assert provider.find("token") == [job_id]
    assert process.pid is None
    assert (tmp_path / "service.log").read_text() == ""


# --- Answers that no sandbox gives --------------------------------------------------------------------------


class Stranger(ThreadingHTTPServer):
    """Answers every request with the same bytes, then hangs up."""

    answer = b""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _StrangerHandler)
        self.requests = 0


class _StrangerHandler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, Stranger)
        self.server.requests += 1
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.wfile.write(self.server.answer)
        self.close_connection = True

    do_GET = do_POST  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def stranger() -> Iterator[Stranger]:
    with Stranger() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def reply(status: int, body: str = "", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} Said", f"Content-Length: {len(body)}", *headers, "", body]
    return "\r\n".join(lines).encode()


PROBLEM = '{"error": {"code": "%s", "message": "m"}}'


@pytest.mark.parametrize(
    ("answer", "verdict", "permanent"),
    [
        (b"", SubmitUnknown, None),
        (b"nonsense\r\n\r\n", SubmitUnknown, None),
        (reply(201, '{"job_id": "a", "tags": ["token"]')[:-3], SubmitUnknown, None),
        (reply(201, "{}"), SubmitUnknown, None),
        (reply(201, '{"job_id": "a", "tags": ["other"]}'), SubmitUnknown, None),
        (reply(200, '{"job_id": "a", "tags": ["token"]}'), SubmitUnknown, None),
        (reply(204), SubmitUnknown, None),
        (reply(302, "", "Location: http://127.0.0.1:9/"), SubmitUnknown, None),
        (reply(408), SubmitUnknown, None),
        (reply(409), SubmitUnknown, None),
        (reply(409, PROBLEM % "token_in_progress"), SubmitUnknown, None),
        (reply(409, PROBLEM % "token_reused"), SubmitRejected, True),
        (reply(418), SubmitUnknown, None),
        (reply(500), SubmitUnknown, None),
        (reply(502), SubmitUnknown, None),
        (reply(503), SubmitUnknown, None),
        (reply(503, PROBLEM % "device_offline"), SubmitRejected, False),
        (reply(504), SubmitUnknown, None),
        (reply(400), SubmitRejected, True),
        (reply(403), SubmitRejected, True),
        (reply(404), SubmitRejected, True),
        (reply(422), SubmitRejected, True),
        (reply(429), SubmitRejected, False),
        (reply(425), SubmitRejected, False),
    ],
)
def test_a_submission_s_answer_is_taken_conservatively(
    stranger: Stranger, answer: bytes, verdict: type[Exception], permanent: bool | None
) -> None:
    stranger.answer = answer
    url = f"http://127.0.0.1:{stranger.server_port}"
    with SandboxProvider("d", url, honours_tokens=True, key=KEY, timeouts=Timeouts(read_s=2)) as provider:
        with pytest.raises(verdict) as error:
            provider.submit(PLAN, "token")
        assert getattr(error.value, "permanent", None) is permanent
        assert stranger.requests == 1, "a submission is sent once"
        if not answer.startswith(b"HTTP/1.1 200"):
            with pytest.raises(ProviderUnavailable):
                provider.poll("a")


def test_what_the_wire_cannot_carry_is_refused_for_good_and_never_sent(stranger: Stranger) -> None:
    folded = replace(PLAN, bases=replace(PLAN.bases, copies=(3,) * len(PLAN.bases)))
    url = f"http://127.0.0.1:{stranger.server_port}"
    with SandboxProvider("d", url, honours_tokens=True, key=KEY) as provider:
        with pytest.raises(SubmitRejected, match="folded") as refusal:
            provider.submit(folded, "token")
        assert refusal.value.permanent
    assert stranger.requests == 0


@pytest.mark.parametrize(
    ("header", "wait_s"),
    [
        ("Retry-After: 12", 12.0),
        ("Retry-After: -3", 0.0),
        ("Retry-After: nan", None),
        ("Retry-After: inf", None),
        ("Retry-After: soon", None),
        ("Retry-After: Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        ("X-Other: 1", None),
    ],
)
def test_retry_after_is_read_or_ignored(stranger: Stranger, header: str, wait_s: float | None) -> None:
    stranger.answer = reply(429, "", header)
    url = f"http://127.0.0.1:{stranger.server_port}"
    with SandboxProvider("d", url, honours_tokens=True, key=KEY) as provider:
        with pytest.raises(SubmitRejected) as refusal:
            provider.submit(PLAN, "token")
        assert refusal.value.retry_after_s == wait_s
