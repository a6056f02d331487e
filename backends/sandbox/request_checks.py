"""What every request must pass before anything else sees it: the key, and a known, bounded size."""

from __future__ import annotations

import hmac

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from backends.sandbox.wire import BODY_BYTES_MAX


class RequestChecks:
    """ASGI middleware: 401 without the API key, 411 and 413 for bodies of unknown or excessive size."""

    def __init__(self, app: ASGIApp, key: str) -> None:
        self._app = app
        self._expected = f"Bearer {key}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._refusal(Headers(scope=scope)) if scope["type"] == "http" else None
        await (refusal or self._app)(scope, receive, send)

    def _refusal(self, headers: Headers) -> JSONResponse | None:
        given = headers.get("authorization", "").encode("latin-1")
        if not hmac.compare_digest(given, self._expected):
            return _error(401, "unauthorized", "the API key is missing or wrong")
        if "transfer-encoding" in headers:
            return _error(411, "length_required", "send a Content-Length")
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length[:20]) > BODY_BYTES_MAX:
            return _error(413, "too_large", f"a request takes at most {BODY_BYTES_MAX} bytes")
        return None


def _error(status: int, code: str, message: str) -> JSONResponse:
    return JSONResponse({"error": {"code": code, "message": message}}, status_code=status)
