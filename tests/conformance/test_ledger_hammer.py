"""A few seconds of benchmarks/ledger_hammer.py: processes killed at random, and nothing lost or overspent."""

import json
import subprocess
import sys
from pathlib import Path

from ledger import Database

HAMMER = Path(__file__).parents[2] / "benchmarks" / "ledger_hammer.py"


def test_killed_processes_lose_and_overspend_nothing(database: Database) -> None:
    url = database.engine.url.render_as_string(hide_password=False)
    options = ["--seconds", "5", "--processes", "4", "--kill-every-s", "0.4", "--seed", "11"]
    done = subprocess.run(
        [sys.executable, str(HAMMER), "--url", url, *options],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report["violations"] == []
    for what in ("pairs", "killed", "refused", "audits", "quick_reads"):
        assert report[what] > 0, f"{what}: the hammer did not hit"
