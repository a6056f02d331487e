"""Running `shotwise` as a user does: a process of its own on a state folder of its own."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

COMMAND = [sys.executable, "-W", "ignore", "-m", "flows.cli"]
START_S_MAX = 120


@dataclass(frozen=True)
class Folder:
    """A state folder with its journal; `api_url` names a Prefect server to share."""

    home: Path
    api_url: str | None = None
    extra: Mapping[str, str] = field(default_factory=dict)

    def environment(self) -> dict[str, str]:
        ours = ("PREFECT_", "SHOTWISE_", "MLFLOW_")
        kept = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
        kept.pop("DATABASE_URL", None)
        shared = {"PREFECT_API_URL": self.api_url} if self.api_url else {}
        return {**kept, "SHOTWISE_HOME": str(self.home), **shared, **self.extra}

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            [*COMMAND, *arguments],
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def json(self, *arguments: str) -> Any:
        """Run a command that must succeed and print exactly one JSON value on standard output."""
        done = self.command(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        (line,) = done.stdout.splitlines()
        return json.loads(line)

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*COMMAND, *arguments],
            env=self.environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def query(self, sql: str, *parameters: object) -> list[tuple]:
        """Rows of the journal; none while it does not exist yet."""
        if not (self.home / "shotwise.db").exists():
            return []
        connection = sqlite3.connect(f"file:{self.home / 'shotwise.db'}?mode=ro", uri=True, timeout=30)
        try:
            return connection.execute(sql, parameters).fetchall()
        except sqlite3.OperationalError:
            return []
        finally:
            connection.close()

    def newest_run(self) -> str:
        ((run_id,),) = self.query("SELECT run_id FROM runs ORDER BY created_us DESC LIMIT 1")
        return run_id

    def iterations_done(self, run_id: str | None = None) -> int:
        run_id = run_id or next(
            (r for (r,) in self.query("SELECT run_id FROM runs ORDER BY created_us DESC")), None
        )
        rows = self.query("SELECT count(*) FROM iterations WHERE run_id = ?", run_id)
        return rows[0][0] if rows else 0

    def footprint(self, run_id: str, *, outcomes: bool = True) -> list[tuple]:
        """Everything that must be the same to the byte: iterations, the last state, and raw outcomes."""
        iterations = self.query(
            "SELECT iteration, energy, energy_std_error, gradient_norm, fidelity, evaluations, shots,"
            " cost_micro_usd, parameters FROM iterations WHERE run_id = ? ORDER BY iteration",
            run_id,
        )
        states = self.query(
            "SELECT iteration, sha256 FROM checkpoints WHERE run_id = ? ORDER BY iteration DESC LIMIT 1",
            run_id,
        )
        jobs = self.query(
            "SELECT iteration, batch, attempt, shots, outcome FROM jobs WHERE run_id = ?"
            " ORDER BY iteration, batch, attempt",
            run_id,
        )
        return [*iterations, *states, *(jobs if outcomes else ())]


def kill_at(
    folder: Folder, process: subprocess.Popen[bytes], rng: random.Random, *, known: int, more: int
) -> bool:
    """SIGKILL a driver at a random moment within its next `more` iterations; False if it ended first."""
    target = known + rng.randrange(more)
    deadline = time.monotonic() + START_S_MAX
    while folder.iterations_done() < target and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    time.sleep(rng.uniform(0, 0.15))
    ended = process.poll() is not None
    if not ended:
        process.send_signal(signal.SIGKILL)
    process.wait()
    return not ended
