"""Exceptions of HTTP libraries: whether a request left this machine, and what may be shown of them.

requests, http.client, h11 and botocore quote a header that they refuse to send, as one with a line break in
it, and a header's value may be a credential.
"""

from __future__ import annotations

import httpx

_REFUSE_HEADERS = (ValueError, httpx.LocalProtocolError)
_SHOWN_MAX = 300


def refused_header(error: BaseException) -> bool:
    """Whether nothing was sent because a header, or a character in it, cannot be."""
    if isinstance(error, UnicodeEncodeError) or (
        isinstance(error, _REFUSE_HEADERS) and "header value" in str(error)
    ):
        return True
    before = error.__cause__ or error.__context__
    return before is not None and refused_header(before)


def text_of(error: BaseException, secrets: tuple[str, ...] = ()) -> str:
    """An exception's text on one short line, without the value of any header, and without these secrets."""
    if refused_header(error):
        return "a header cannot be sent; check the credentials"
    text = " ".join(str(error).split())
    for secret in secrets:
        text = text.replace(secret, "***")
    return text[:_SHOWN_MAX]
