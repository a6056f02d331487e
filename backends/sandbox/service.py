"""The sandbox cloud over HTTP."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Annotated

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from backends.sandbox.cloud import Cloud
from backends.sandbox.faults import FaultSpec, RandomFaults
from backends.sandbox.messages import ClockSetting, Problem, Refusal, Submission, Tag
from backends.sandbox.refusals import ConnectionDropped, NoResponse, Refused
from backends.sandbox.request_checks import RequestChecks


def create_app(cloud: Cloud, key: str) -> FastAPI:
    """The service; every call needs `Authorization: Bearer KEY`."""
    app = FastAPI(title="Shotwise sandbox", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(RequestChecks, key=key)
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(NoResponse, _silent)
    app.add_exception_handler(ConnectionDropped, _cut_off)
    app.add_exception_handler(RequestValidationError, _invalid)
    _add_devices(app, cloud)
    _add_jobs(app, cloud)
    _add_control(app, cloud)
    return app


def _add_devices(app: FastAPI, cloud: Cloud) -> None:
    @app.get("/v1/health")
    def health() -> Response:
        return Response('{"status": "ok"}', media_type="application/json")

    @app.get("/v1/devices")
    def devices() -> Response:
        return _json(cloud.devices())

    @app.get("/v1/devices/{device}")
    def describe(device: str) -> Response:
        return _json(cloud.describe(device))

    @app.get("/v1/devices/{device}/calibration")
    def calibration(device: str) -> Response:
        return _json(cloud.calibration(device))

    @app.get("/v1/devices/{device}/queue")
    def queue(device: str) -> Response:
        return _json(cloud.queue(device))

    @app.get("/v1/devices/{device}/bill")
    def bill(device: str, after: Annotated[int, Query(ge=0, lt=1 << 62)] = 0) -> Response:
        return _json(cloud.bill(device, after))


def _add_jobs(app: FastAPI, cloud: Cloud) -> None:
    @app.post("/v1/devices/{device}/jobs")
    def submit(device: str, submission: Submission) -> Response:
        return _json(cloud.submit(device, submission), status=201)

    @app.get("/v1/devices/{device}/jobs")
    def find(device: str, tag: Tag | None = None, token: Tag | None = None) -> Response:
        if (tag is None) == (token is None):
            raise Refused(422, "invalid", "search by tag or by token")
        return _json(cloud.find_token(device, token) if token else cloud.find(device, tag=tag or ""))

    @app.get("/v1/jobs/{job_id}")
    def job(job_id: str) -> Response:
        return _json(cloud.job(job_id))

    @app.get("/v1/jobs/{job_id}/result")
    def result(job_id: str) -> Response:
        return _json(cloud.result(job_id))

    @app.post("/v1/jobs/{job_id}/cancel")
    def cancel(job_id: str) -> Response:
        return _json(cloud.cancel(job_id))


def _add_control(app: FastAPI, cloud: Cloud) -> None:
    @app.get("/control/faults")
    def faults() -> Response:
        return _json(cloud.faults())

    @app.post("/control/faults")
    def inject(spec: FaultSpec) -> Response:
        return _json(cloud.inject([spec]))

    @app.post("/control/faults/random")
    def inject_random(campaign: RandomFaults) -> Response:
        return _json(cloud.inject(campaign.specs()))

    @app.delete("/control/faults")
    def clear() -> Response:
        return _json(cloud.clear_faults())

    @app.get("/control/clock")
    def clock() -> Response:
        return _json(cloud.clock())

    @app.post("/control/clock")
    def set_clock(setting: ClockSetting) -> Response:
        return _json(cloud.clock(setting))


def _json(message: BaseModel, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """By pydantic itself: NaN and decimals survive, which the default encoder does not grant."""
    return Response(message.model_dump_json(), status, headers, media_type="application/json")


def _error(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> Response:
    return _json(Refusal(error=Problem(code=code, message=message)), status, headers)


async def _refused(_: Request, refusal: Exception) -> Response:
    assert isinstance(refusal, Refused)
    wait_s = refusal.retry_after_s
    headers = None if wait_s is None else {"Retry-After": f"{wait_s:g}"}
    return _error(refusal.status, refusal.code, refusal.message, headers)


async def _silent(request: Request, silence: Exception) -> Response:
    assert isinstance(silence, NoResponse)
    with contextlib.suppress(TimeoutError):
        # the body has been read: all that can still come is that the client hangs up
        await asyncio.wait_for(request.receive(), silence.seconds)
    return _error(504, "gateway_timeout", "no answer in time")


async def _cut_off(_: Request, __: Exception) -> Response:
    return _HalfAnswer()


async def _invalid(_: Request, invalid: Exception) -> Response:
    assert isinstance(invalid, RequestValidationError)
    first = invalid.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return _error(422, "invalid", f"{where}: {first['msg']}"[:300])


class _HalfAnswer(Response):
    """Promises more bytes than it sends; the server then breaks the connection."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"application/json"), (b"content-length", b"100")]
        await send({"type": "http.response.start", "status": 201, "headers": headers})
        await send({"type": "http.response.body", "body": b'{"job_id": "', "more_body": True})
