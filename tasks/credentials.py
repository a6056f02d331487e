"""Credentials of cloud devices: from the environment, else from a Prefect Secret block of the same name.

Adapters ask by name (`QISKIT_IBM_TOKEN`) when they are opened and keep the answer to themselves. A block is
named like the variable, in Prefect's spelling: `qiskit-ibm-token`.
"""

from __future__ import annotations

import os


def credential(name: str) -> str | None:
    """The credential of that name, None where there is none.

    Without the address of a Prefect server (`PREFECT_API_URL`) only the environment is looked at, and a
    server that does not answer has no blocks: what is missing is then said by the adapter, by name.
    """
    value = os.environ.get(name)
    if not value and os.environ.get("PREFECT_API_URL"):
        value = _from_block(block_name(name))
    return value and value.strip()  # files end with a line break, and no header may


def block_name(name: str) -> str:
    """Prefect allows lowercase letters, digits and dashes."""
    return name.lower().replace("_", "-")


def _from_block(name: str) -> str | None:
    import httpx
    from prefect.blocks.system import Secret
    from prefect.exceptions import PrefectException

    try:
        block = Secret.load(name, _sync=True)  # pyright: ignore[reportCallIssue]
    except (ValueError, httpx.HTTPError, PrefectException):
        return None  # no such block; the exception is dropped, as everything that was near a secret
    value = block.value.get_secret_value()  # `get` would read a numeric key as a number
    return value if isinstance(value, str) else None
