"""Reading what another version wrote: what it does not have yet has its default, what is new is left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any


def known_fields(kind: type, stored: Mapping[str, Any]) -> dict[str, Any]:
    """Of what was written down of a dataclass, the fields that it has here."""
    return {field.name: stored[field.name] for field in fields(kind) if field.name in stored}
