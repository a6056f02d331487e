"""A connection to Amazon Braket in one region that asks every question once."""

from __future__ import annotations

from collections.abc import Callable

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    EndpointConnectionError,
    NoCredentialsError,
    NoRegionError,
    ParamValidationError,
    PartialCredentialsError,
)
from braket.aws import AwsSession

from backends.http_errors import refused_header, text_of
from backends.provider import ProviderUnavailable, SubmitRejected, SubmitUnknown
from backends.retry_after import retry_after_s

_NOTHING_SENT = (
    ConnectTimeoutError,
    CredentialRetrievalError,
    EndpointConnectionError,
    NoCredentialsError,
    NoRegionError,
    ParamValidationError,
    PartialCredentialsError,
)
_REFUSED_FOR_NOW = frozenset(
    {
        "DeviceOfflineException",
        "ServiceQuotaExceededException",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)
_CREDENTIALS = frozenset(
    {
        "AccessDeniedException",
        "ExpiredTokenException",
        "IncompleteSignatureException",
        "InvalidSignatureException",
        "MissingAuthenticationTokenException",
        "UnrecognizedClientException",
    }
)
_REFUSED = frozenset({"DeviceRetiredException", "ResourceNotFoundException", "ValidationException"})


def open_session(region: str, secret: Callable[[str], str | None], timeout_s: float = 60.0) -> AwsSession:
    """A session with the caller's keys, or with boto3's own (profile, role) where the caller has none.

    botocore would repeat requests up to four times; here each is sent once, so that what is repeated, and
    when, is decided in one place. Endpoints can be replaced by BRAKET_ENDPOINT and AWS_ENDPOINT_URL_S3.
    """
    config = Config(
        connect_timeout=min(5.0, timeout_s), read_timeout=timeout_s, retries={"total_max_attempts": 1}
    )
    boto_session = boto3.Session(
        aws_access_key_id=secret("AWS_ACCESS_KEY_ID"),
        aws_secret_access_key=secret("AWS_SECRET_ACCESS_KEY"),
        aws_session_token=secret("AWS_SESSION_TOKEN"),
        region_name=region,
    )
    return AwsSession(boto_session=boto_session, config=config)


def submission_error(error: BotoCoreError | ClientError) -> SubmitRejected | SubmitUnknown:
    """What an exception of a submission means for what was bought; in doubt, unknown."""
    text = error_text(error)
    if refused_header(error):
        return SubmitRejected(text, permanent=True, ours=True)
    if isinstance(error, _NOTHING_SENT):
        return SubmitRejected(text, permanent=isinstance(error, ParamValidationError))
    if isinstance(error, ClientError):
        code = code_of(error)
        if code in _REFUSED_FOR_NOW:
            headers = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
            return SubmitRejected(text, retry_after_s=retry_after_s(str(headers.get("retry-after", ""))))
        if code in _REFUSED | _CREDENTIALS:
            return SubmitRejected(text, permanent=True, ours=code in _CREDENTIALS)
    return SubmitUnknown(text)


def query_error(error: BotoCoreError | ClientError) -> ProviderUnavailable:
    """What an exception of a query means."""
    return ProviderUnavailable(error_text(error))


def code_of(error: ClientError) -> str:
    """AWS's name of the error."""
    return str(error.response.get("Error", {}).get("Code", ""))


def error_text(error: Exception) -> str:
    """On one short line. AWS signs requests and repeats no secret keys in its answers."""
    return f"Braket: {text_of(error)}"
