"""The tracking process, which says on its last line how it called MLflow."""

from __future__ import annotations

from typing import Any

import tasks.tracking.serving as process
from shotwise.home import Home

open_store = process.open_store


class Recorded:
    """A client that keeps the names of what it was asked."""

    asked: tuple[str, ...] = ()

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        Recorded.asked += (name,)
        return getattr(self._client, name)


process.open_store = lambda home: Recorded(open_store(home))
process.serve(Home.from_environment())
print(*Recorded.asked)
