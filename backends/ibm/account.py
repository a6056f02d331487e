"""A connection to one instance of IBM Quantum that asks every question once.

qiskit-ibm-runtime's own session repeats a POST up to five times on 5xx answers. A submission that was
accepted before its answer got lost could then be bought again, unseen by the ledger, so this session repeats
nothing and gives up after `timeout_s`; whether to ask again is decided in one place, above.
"""

from __future__ import annotations

from typing import Any

from qiskit_ibm_runtime.api.auth import CloudAuth
from qiskit_ibm_runtime.api.exceptions import RequestsApiError
from qiskit_ibm_runtime.api.rest.runtime import Runtime
from qiskit_ibm_runtime.api.session import RetrySession
from qiskit_ibm_runtime.api.utils import default_runtime_url_resolver
from qiskit_ibm_runtime.exceptions import IBMError, IBMNotAuthorizedError
from requests import Response
from requests.adapters import HTTPAdapter
from requests.exceptions import ConnectionError as RequestsConnectionError
from requests.exceptions import ConnectTimeout
from urllib3.exceptions import NewConnectionError

from backends.http_errors import refused_header, text_of
from backends.provider import ProviderUnavailable, SubmitRejected, SubmitUnknown
from backends.retry_after import retry_after_s

_CLOUD_URL = "https://cloud.ibm.com"
_PERMANENT = frozenset({400, 401, 402, 403, 404, 405, 410, 413, 415, 422})
"""Answers to a submission that say nothing was taken and nothing will be."""

_OURS = frozenset({401, 402, 403})
"""Those that are about the account and its credentials."""


class IbmAccount:
    """One API key on one instance. Thread-safe as far as `requests` sessions are: used by one job at a time.

    Args:
        api_key: IBM Cloud API key.
        instance: the service instance's CRN.
        api_url: of an emulator; None is IBM's own for the instance's region.
        timeout_s: for each answer.
    """

    def __init__(
        self, api_key: str, instance: str, *, api_url: str | None = None, timeout_s: float = 60.0
    ) -> None:
        self._secrets = (api_key, instance)
        self._auth = CloudAuth(api_key, instance)
        base_url = api_url or default_runtime_url_resolver(_CLOUD_URL, instance)
        self.api = Runtime(_OnceSession(base_url, self._auth, timeout_s))

    def __repr__(self) -> str:
        return "IbmAccount(...)"

    def authenticate(self) -> None:
        """Get or renew the access token, before anything that must not be sent with doubt.

        The SDK would send the bare API key where that fails; here nothing is sent.

        Raises:
            ProviderUnavailable: no token. The reason is not repeated: it may quote the request.
        """
        try:
            self._auth.tm.get_token()
        except Exception as error:  # the SDK lets anything through: HTTP, JSON and JWT errors
            status = getattr(error, "status_code", None) or getattr(error, "code", None)
            raise ProviderUnavailable(
                f"IBM Cloud gives no token ({type(error).__name__}, status {status}); check the API key"
            ) from None

    def submission_error(self, error: IBMError | ValueError) -> SubmitRejected | SubmitUnknown:
        """What an exception of a submission means for what was bought; in doubt, unknown."""
        text = self.redacted(error)
        if isinstance(error, IBMNotAuthorizedError) or refused_header(error):
            return SubmitRejected(text, permanent=True, ours=True)
        status, cause = getattr(error, "status_code", -1), error.__cause__
        if status == 429:
            response = getattr(cause, "response", None)
            header = response.headers.get("Retry-After", "") if response is not None else ""
            return SubmitRejected(text, retry_after_s=retry_after_s(header))
        if status in _PERMANENT:
            return SubmitRejected(text, permanent=True, ours=status in _OURS)
        if _never_connected(cause):
            return SubmitRejected(text)
        return SubmitUnknown(text)

    def query_error(self, error: IBMError) -> ProviderUnavailable:
        """What an exception of a query means."""
        return ProviderUnavailable(self.redacted(error))

    def redacted(self, error: Exception) -> str:
        """An error's text on one short line, without credentials."""
        return f"IBM: {text_of(error, self._secrets)}"


class _OnceSession(RetrySession):
    """A session that sends each request once and waits for an answer at most `timeout_s`."""

    def __init__(self, base_url: str, auth: CloudAuth, timeout_s: float) -> None:
        super().__init__(base_url, auth=auth)
        self._limits_s = (min(5.0, timeout_s), timeout_s)
        for scheme in ("http://", "https://"):
            self.mount(scheme, HTTPAdapter(max_retries=0))

    def request(self, method: str, url: str, bare: bool = False, **kwargs: Any) -> Response:  # type: ignore[override]
        # the SDK's own submissions would wait for 15 minutes
        kwargs["timeout"] = self._limits_s
        return super().request(method, url, bare=bare, **kwargs)


def status_of(error: IBMError) -> int:
    """HTTP status of an API error, -1 where there was no answer."""
    return error.status_code if isinstance(error, RequestsApiError) else -1


def _never_connected(cause: BaseException | None) -> bool:
    if isinstance(cause, ConnectTimeout):
        return True
    reason = getattr(cause.args[0], "reason", None) if cause is not None and cause.args else None
    return isinstance(cause, RequestsConnectionError) and isinstance(reason, NewConnectionError)
