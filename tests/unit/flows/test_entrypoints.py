"""Every flow loads from its path entrypoint for real, as a deployment loads it, and shadows no package."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
ENTRYPOINTS = {
    "flows/vqe.py:vqe": "vqe",
    "flows/qaoa.py:qaoa": "qaoa",
    "flows/rqaoa.py:rqaoa": "rqaoa",
    "flows/scan.py:scan": "scan",
    "flows/sweep.py:sweep": "sweep",
    "flows/calibrate.py:calibrate": "calibrate",
    "flows/reconcile.py:reconcile_ledger": "reconcile",
}
SCRIPT = """
import sys
from prefect.flows import load_flow_from_entrypoint
for entrypoint in sys.argv[1:]:
    print(load_flow_from_entrypoint(entrypoint, use_placeholder_flow=False).name)
"""


def test_every_entrypoint_loads_without_a_placeholder(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT, *ENTRYPOINTS],
        cwd=ROOT,
        env={
            "PATH": "",
            "PREFECT_HOME": str(tmp_path),
            "SHOTWISE_HOME": str(tmp_path / "state"),
            "DO_NOT_TRACK": "1",
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == list(ENTRYPOINTS.values())


def test_no_flow_is_missing_here() -> None:
    files = (ROOT / "flows").glob("*.py")
    flows = [(path, re.findall(r"^@flow\(.*\)\ndef (\w+)", path.read_text(), re.M)) for path in files]
    assert {f"flows/{path.name}:{name}" for path, names in flows for name in names} == set(ENTRYPOINTS)


def test_no_file_of_the_flows_is_named_like_a_package() -> None:
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert packages.isdisjoint(path.stem for path in (ROOT / "flows").glob("*.py"))
