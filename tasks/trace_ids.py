"""Ids of spans: hashes of names, so that whoever tells of a run, and however often, says the same."""

from __future__ import annotations

import hashlib


def trace_id(run_id: str) -> int:
    """The trace of a run: 128 bits, the same in every process."""
    return int.from_bytes(hashlib.sha256(run_id.encode()).digest()[:16])


def span_id(run_id: str, *path: object) -> int:
    """A span of the run that is named by a path: () the run, ("iteration", 3), ("job", token)."""
    text = "/".join(str(part) for part in (run_id, *path))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[-8:])
