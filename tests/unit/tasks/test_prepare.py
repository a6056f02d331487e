"""What is prepared once, and for whom."""

from pathlib import Path

import pytest

from shotwise.spec import validate
from tasks.prepare import prepare

SPEC = validate(
    {
        "problem": {"kind": "maxcut", "edges": [[0, 1], [1, 2]]},
        "execution": {"mode": "shots", "shots": 1000, "device": "braket-iqm-garnet"},
        "budget": {"usd": 100},
    }
)


def test_equal_specs_of_one_home_share_what_is_prepared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOTWISE_HOME", str(tmp_path / "one"))
    one = prepare(SPEC)
    assert prepare(SPEC) is one
    monkeypatch.setenv("SHOTWISE_HOME", str(tmp_path / "other"))
    other = prepare(SPEC)
    assert one.fleet is not None
    assert other.fleet is not None
    assert one.fleet.jobs_folder == tmp_path / "one" / "local-jobs"
    assert other.fleet.jobs_folder == tmp_path / "other" / "local-jobs"
