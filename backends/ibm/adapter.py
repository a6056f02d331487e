"""Opens IBM Quantum devices of the catalog."""

from __future__ import annotations

from backends.catalog.adapters import CREDENTIAL_REMEDY, AdapterContext
from backends.catalog.description import DeviceDescription
from backends.ibm.account import IbmAccount
from backends.ibm.cloud_provider import IbmCloudProvider
from shotwise.errors import CannotRunError

API_KEY, INSTANCE = "QISKIT_IBM_TOKEN", "QISKIT_IBM_INSTANCE"
"""Names of the credentials, as Qiskit's own environment variables."""


def open_provider(description: DeviceDescription, context: AdapterContext) -> IbmCloudProvider:
    """A backend, with the caller's credentials. Nothing is asked of IBM yet.

    Raises:
        CannotRunError: a credential is missing, or the run times by which jobs are priced and ended.
    """
    if description.price.per_second_usd and not description.queue.run_s(1, 1):
        raise CannotRunError(
            f"device.{description.name}.queue",
            0,
            "its price counts seconds of run time, of which this gives a job none",
            "give it seconds_per_job, seconds_per_circuit or seconds_per_shot",
        )
    api_key, instance = (context.secret(name) for name in (API_KEY, INSTANCE))
    if not api_key or not instance:
        missing = INSTANCE if api_key else API_KEY
        raise CannotRunError("execution.device", description.name, f"needs {missing}", CREDENTIAL_REMEDY)
    return IbmCloudProvider(description, IbmAccount(api_key, instance))
