"""Points of a sweep and their runs: the same grid always means the same runs."""

import json
from pathlib import Path

import pytest

from ledger import Journal
from shotwise.errors import SpecError
from tasks.sweep import enter_runs, finished_rows, grid, sweep_name
from tests.databases import new_journal

H2 = Path(__file__).parents[3] / "examples" / "h2.yaml"


def test_grid_is_the_product_last_field_fastest() -> None:
    points = grid(H2, ["name=scan"], ["seed=1,2", "optimizer.learning_rate=0.1,0.2"])
    found = [(p.spec.name, p.spec.seed, p.spec.optimizer.learning_rate) for p in points]
    assert found == [("scan", 1, 0.1), ("scan", 1, 0.2), ("scan", 2, 0.1), ("scan", 2, 0.2)]


def test_quoted_values_may_hold_commas_and_semicolons() -> None:
    points = grid(
        H2, [], ['problem.geometry="H 0 0 0; H 0 0 0.7","H 0 0 0; H 0 0 0.8"', "optimizer.name=adam,lbfgs"]
    )
    assert len({point.spec.canonical_json() for point in points}) == 4


def test_values_that_are_not_yaml_are_told_with_the_option() -> None:
    with pytest.raises(SpecError, match=r"^--over: not YAML: .* \(got 'seed=\[1,2'\)"):
        grid(H2, [], ["seed=[1,2"])


def test_the_same_points_have_the_same_name_and_runs_entered_once(tmp_path: Path) -> None:
    points = grid(H2, [], ["seed=1,2"])
    assert (
        sweep_name(points) == sweep_name(grid(H2, [], ["seed=1,2"])) != sweep_name(grid(H2, [], ["seed=1,3"]))
    )
    journal = Journal(new_journal(tmp_path / "journal.db"))
    first = enter_runs(journal, "a", points)
    assert enter_runs(journal, "a", points) == first
    assert len(journal.all_runs()) == 2
    assert not set(enter_runs(journal, "b", points)) & set(first)


@pytest.mark.parametrize("varied", ["seed", "seed=", ".seed=1", "seed=1,x", "sede=1"])
def test_what_makes_no_grid_is_refused(varied: str) -> None:
    with pytest.raises(SpecError):
        grid(H2, [], [varied])


@pytest.mark.parametrize(
    ("fixed", "varied", "said"),
    [
        ([], ["seed=1,2", "seed=3"], "--over: varied twice (got 'seed'); give all its values at once"),
        (["seed=3"], ["seed=1,2"], "--set: --over varies it (got 'seed'); leave one of them out"),
        (
            ["optimizer.name=adam"],
            ["optimizer={name: spsa}"],
            "--set: --over varies it (got 'optimizer.name')",
        ),
        (
            [],
            ["optimizer.name=adam", "optimizer={name: spsa}"],
            "--over: optimizer, varied after it, overwrites",
        ),
    ],
)
def test_a_field_that_another_option_would_overwrite_is_refused(
    fixed: list[str], varied: list[str], said: str
) -> None:
    with pytest.raises(SpecError) as refused:
        grid(H2, fixed, varied)
    assert str(refused.value).startswith(said)


def test_a_part_of_what_is_set_may_be_varied() -> None:
    points = grid(H2, ["optimizer={name: adam, max_iterations: 5}"], ["optimizer.name=adam,lbfgs"])
    assert [point.spec.optimizer.max_iterations for point in points] == [5, 5]


def test_a_scan_is_not_swept() -> None:
    with pytest.raises(SpecError, match="many runs by itself"):
        grid(H2.with_name("h2_scan.yaml"), [], ["seed=1,2"])


def test_a_grid_is_bounded_before_it_is_built() -> None:
    many = "seed=" + ",".join(map(str, range(101)))
    with pytest.raises(SpecError, match="10201 points"):
        grid(H2, [], [many, many.replace("seed", "optimizer.max_iterations")])


def test_a_sweep_is_answered_from_the_journal_once_nothing_is_left_to_do(tmp_path: Path) -> None:
    points = grid(H2, [], ["seed=1,2"])
    journal = Journal(new_journal(tmp_path / "journal.db"))
    assert finished_rows(journal, "a", points) is None
    run_ids = enter_runs(journal, "a", points)
    for energy, run_id in enumerate(run_ids):
        assert finished_rows(journal, "a", points) is None
        lease = journal.acquire(run_id)
        told = json.dumps({"energy": -float(energy)})
        lease.finish(state="completed", reason="converged", result_json=told)
    rows = finished_rows(journal, "a", points)
    assert rows is not None
    assert [(row["run_id"], row["energy"]) for row in rows] == [(run_ids[0], -0.0), (run_ids[1], -1.0)]
