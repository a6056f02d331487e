"""New journals for tests: copies of one that was migrated, since each migration takes a tenth of a second."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

from ledger import Database


def new_journal(path: Path) -> Database:
    """An empty, migrated journal in a file that there is not yet."""
    path.write_bytes(_migrated())
    return Database(f"sqlite:///{path}")


@cache
def _migrated() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal.db"
        Database(f"sqlite:///{path}").close()  # which leaves one file without a write-ahead log
        return path.read_bytes()
