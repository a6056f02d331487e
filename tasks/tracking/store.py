"""MLflow's store: the one of a state folder, and the template that a fresh one begins with."""

from __future__ import annotations

import os
import shutil
import sqlite3
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from sqlalchemy import Engine, event

from shotwise.home import Home


def open_store(home: Home) -> MlflowClient:
    """The store that a state folder names."""
    if home.mlflow_uri.startswith("sqlite:///"):
        store = Path(home.mlflow_uri.removeprefix("sqlite:///"))
        _copy_template(store)
        _write_ahead(store)
    return MlflowClient(tracking_uri=home.mlflow_uri)


def _write_ahead(store: Path) -> None:
    """Have this process's commits to the store not wait for the disk: the journal is the truth, and it does.

    The store stays whole in any crash, and readers such as the UI are not held up.
    """

    @event.listens_for(Engine, "connect")
    def _configure(connection: Any, _: object) -> None:
        if not isinstance(connection, sqlite3.Connection):
            return
        *_, file = connection.execute("PRAGMA database_list").fetchone()
        if Path(file).resolve() == store.resolve():
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")


def make_template() -> None:
    """Build the template store."""
    template = _template()
    template.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=template.parent) as folder:
        store = Path(folder) / "mlflow.db"
        MlflowClient(tracking_uri=f"sqlite:///{store}").search_experiments()
        os.replace(store, template)


def _template() -> Path:
    return Path(sys.prefix) / "share" / "shotwise" / f"mlflow-{version('mlflow')}.db"


def _copy_template(store: Path) -> None:
    """Give a fresh state folder a store that is migrated already; without a template MLflow makes one."""
    store.parent.mkdir(parents=True, exist_ok=True)
    template = _template()
    if store.exists() or not template.exists():
        return
    with tempfile.NamedTemporaryFile(dir=store.parent, delete=False) as copy, template.open("rb") as source:
        shutil.copyfileobj(source, copy)
    try:
        os.link(copy.name, store)  # fails where another process was first: theirs may be in use
    except FileExistsError:
        pass
    finally:
        os.unlink(copy.name)
