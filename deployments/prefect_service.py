"""The team's Prefect server as a process: `python -m deployments.prefect_service HOST PORT`.

As `prefect server start`, but a fresh SQLite database begins as a copy of the migrated one that the
installation made once, which saves half of the first start. Beyond loopback it refuses to start without
credentials.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from deployments.exposure import exposure
from shotwise.errors import ShotwiseError


def main() -> None:
    """Serve until SIGTERM. The environment holds Prefect's settings."""
    host, port = sys.argv[1], int(sys.argv[2])
    try:
        exposure(host, port)
    except ShotwiseError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
    kind, _, path = os.environ["PREFECT_SERVER_DATABASE_CONNECTION_URL"].partition(":///")
    if kind == "sqlite+aiosqlite":
        from tasks.prefect_supervisor import prepare_database

        prepare_database(Path(path))
    _let_schedules_be_inserted()
    import uvicorn
    from prefect.server.api.server import create_app

    uvicorn.run(
        create_app(),
        host=host,
        port=port,
        log_config=None,  # Prefect configures uvicorn's loggers
        access_log=False,
        lifespan="on",
        timeout_graceful_shutdown=3,
    )


def _let_schedules_be_inserted() -> None:
    """Make Prefect 3.8's scheduler work on SQLAlchemy 2.1.

    It inserts flow runs in bulk from mappings that also hold `state`, a hybrid attribute. SQLAlchemy 2.0
    passes over such a key; 2.1 refuses it unless the attribute has a rule for that, here: to pass over it.
    """
    from prefect.server.database import orm_models
    from sqlalchemy import inspect

    for model in (orm_models.FlowRun, orm_models.TaskRun):
        hybrid: Any = inspect(model).all_orm_descriptors["state"]
        if getattr(hybrid, "bulk_dml_setter", False) is None:
            hybrid.bulk_dml_setter = lambda cls, mapping, value: None


if __name__ == "__main__":
    main()
