"""Opens Amazon Braket's devices of the catalog."""

from __future__ import annotations

from backends.braket.account import open_session
from backends.braket.cloud_provider import BraketCloudProvider
from backends.catalog.adapters import CREDENTIAL_REMEDY, AdapterContext
from backends.catalog.description import DeviceDescription
from shotwise.errors import CannotRunError

BUCKET, REGION = "AMZN_BRAKET_OUT_S3_BUCKET", "AWS_REGION"


def open_provider(description: DeviceDescription, context: AdapterContext) -> BraketCloudProvider:
    """A device, with the caller's keys or boto3's own. Nothing is asked of AWS yet.

    Raises:
        CannotRunError: no bucket for results, or no region.
    """
    bucket = context.secret(BUCKET)
    # arn:aws:braket:REGION::device/...; the region of managed simulators is the user's choice
    region = description.vendor_name.split(":")[3] or context.secret(REGION)
    for name, value in ((BUCKET, bucket), (REGION, region)):
        if not value:
            raise CannotRunError("execution.device", description.name, f"needs {name}", CREDENTIAL_REMEDY)
    return BraketCloudProvider(description, open_session(region or "", context.secret), bucket or "")
