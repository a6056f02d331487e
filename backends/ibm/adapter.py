"""Opens IBM Quantum devices of the catalog."""

from __future__ import annotations

from backends.catalog.adapters import CREDENTIAL_REMEDY, Surroundings
from backends.catalog.description import DeviceDescription
from backends.ibm.account import IbmAccount
from backends.ibm.cloud_provider import IbmCloudProvider
from shotwise.errors import CannotRunError

API_KEY, INSTANCE = "QISKIT_IBM_TOKEN", "QISKIT_IBM_INSTANCE"
"""Names of the credentials, as Qiskit's own environment variables."""


def open_provider(description: DeviceDescription, surroundings: Surroundings) -> IbmCloudProvider:
    """A backend, with the caller's credentials. Nothing is asked of IBM yet.

    Raises:
        CannotRunError: a credential is missing.
    """
    api_key, instance = (surroundings.secret(name) for name in (API_KEY, INSTANCE))
    if not api_key or not instance:
        missing = INSTANCE if api_key else API_KEY
        raise CannotRunError("execution.device", description.name, f"needs {missing}", CREDENTIAL_REMEDY)
    return IbmCloudProvider(description, IbmAccount(api_key, instance))
