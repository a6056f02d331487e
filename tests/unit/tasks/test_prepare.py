"""What is prepared once, and for whom."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from measurement import GroupVariances
from shotwise.errors import CannotRunError
from shotwise.spec import validate
from tasks.evaluate import plan_iteration
from tasks.prepare import prepare
from tasks.result import final_plan
from tasks.sampling import final_shots
from tasks.state import initial

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


def precise(std_error: float, **execution: object) -> dict:
    return {
        "problem": {"kind": "molecule", "geometry": "H 0 0 0; H 0 0 0.74"},
        "execution": {"mode": "shots", "device": "sim-lima", "target_std_error": std_error, **execution},
        "optimizer": {"max_iterations": 5},
    }


@pytest.mark.parametrize("execution", [{}, {"shot_policy": "adaptive"}, {"device": "jax"}])
@pytest.mark.parametrize("std_error", [1e-6, 1e-12, 1e-15])
def test_a_precision_of_too_many_shots_is_refused(std_error: float, execution: dict, tmp_home: Path) -> None:
    with pytest.raises(CannotRunError, match=r"target_std_error: an energy would take .* shots, more"):
        prepare(validate(precise(std_error, **execution)))
    prepare(validate(precise(1e-4, **execution)))


def test_the_remedy_of_a_refused_precision_helps(tmp_home: Path) -> None:
    with pytest.raises(CannotRunError) as refused:
        prepare(validate(precise(1e-6)))
    prepare(validate(precise(float(refused.value.remedy.split()[2]))))


def test_measured_variances_that_take_too_many_shots_end_a_run(tmp_home: Path) -> None:
    """They are known after the pilot; what they ask for is not built."""
    ready = prepare(validate(precise(1e-4)))
    groups = len(ready.grouping)
    noisy = GroupVariances(np.full(groups, 1e6), np.full(groups, 100.0))
    state = replace(initial(ready), piloting=False, group_variances=noisy, centre_group_variances=noisy)
    for plan in (plan_iteration, final_plan, final_shots):
        with pytest.raises(CannotRunError, match=r"execution\.target_std_error"):
            plan(ready, state)


@pytest.fixture
def tmp_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOTWISE_HOME", str(tmp_path))
