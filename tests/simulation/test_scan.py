"""A scan that is killed inside a point ends, resumed, as if it had not been; its points are runs."""

import time
from pathlib import Path

import pytest

from tests.simulation.command import Folder

SPEC = """
name: curve
problem: {kind: molecule, geometry: "H 0 0 0; H 0 0 0.6"}
optimizer: {name: adam, learning_rate: 0.1, max_iterations: 12}
execution: {mode: shots, shots: 300}
scan: {bond: [0, 1], from: 0.6, to: 1.0, points: 2}
seed: 7
"""


def points(curve: dict) -> list[dict]:
    return [{k: v for k, v in point.items() if k != "run_id"} for point in curve["points"]]


@pytest.mark.campaign
@pytest.mark.timeout(1800)
def test_a_killed_scan_ends_as_if_undisturbed(tmp_path: Path) -> None:
    spec = tmp_path / "curve.yaml"
    spec.write_text(SPEC)
    folder = Folder(tmp_path / "home")
    undisturbed = folder.json("run", str(spec), "--quiet")
    whole = undisturbed["run_id"]
    process = folder.start("run", str(spec), "--quiet")
    killed = "SELECT run_id FROM runs WHERE run_id LIKE 'curve-%.001' AND run_id NOT LIKE ?"
    while not (found := folder.query(killed, f"{whole}%")) and process.poll() is None:
        time.sleep(0.02)
    scan_id = found[0][0].removesuffix(".001")
    while folder.iterations_done(f"{scan_id}.001") < 3 and process.poll() is None:
        time.sleep(0.005)
    assert process.poll() is None, "the scan must be killed inside its second point"
    process.kill()
    process.wait()
    resumed = folder.json("resume", scan_id, "--quiet")
    assert points(resumed) == points(undisturbed)
    for index in (0, 1):
        footprint = folder.footprint(f"{scan_id}.{index:03d}")
        assert footprint == folder.footprint(f"{whole}.{index:03d}")
        assert len(footprint) > 12
    assert (folder.home / "plots" / f"{scan_id}-curve.png").exists()
    assert len(list((folder.home / "mlflow").rglob("curve.png"))) == 2
    assert folder.query("SELECT DISTINCT state FROM runs") == [("completed",)]
    (first,) = folder.query(
        "SELECT parameters FROM iterations WHERE run_id = ? AND iteration = 0", f"{whole}.001"
    )
    assert len(first[0]) == 3 * 8
    assert any(first[0]), "the second point starts from the first's parameters, not from zero"
