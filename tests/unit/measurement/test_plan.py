"""Parts of plans, and outcomes summed."""

import numpy as np
import pytest

from measurement import Bases, ExecutionPlan, Outcome
from problems.circuit import Circuit, Rotation


def drawn(rng: np.random.Generator, rows: int) -> Outcome:
    def row() -> tuple[np.ndarray, np.ndarray]:
        states = np.sort(rng.choice(8, size=rng.integers(0, 5), replace=False))
        return states, rng.integers(1, 100, len(states))

    return Outcome.from_rows([row() for _ in range(rows)])


@pytest.mark.parametrize("seed", range(5))
def test_a_sum_has_every_count_once_in_its_row(seed: int) -> None:
    rng = np.random.default_rng(seed)
    parts = [(rng.integers(0, 4, rows), drawn(rng, rows)) for rows in rng.integers(1, 6, size=seed)]
    found = Outcome.summed(4, parts)
    assert len(found) == 4
    for row in range(4):
        seen = np.zeros(8, dtype=np.int64)
        for to, part in parts:
            for at in np.flatnonzero(to == row):
                states, counts = part.row(at)
                seen[states] += counts
        states, counts = found.row(row)
        assert states.tolist() == np.flatnonzero(seen).tolist()
        assert counts.tolist() == seen[states].tolist()
        assert found.shots[row] == seen.sum()
    assert {array.dtype for array in (found.states, found.counts, found.offsets)} == {np.dtype(np.int64)}


@pytest.mark.parametrize("parts", [[], [(np.array([1]), Outcome.from_rows([(np.zeros(0), np.zeros(0))]))]])
def test_nothing_summed_is_nothing_in_every_row(parts: list[tuple[np.ndarray, Outcome]]) -> None:
    found = Outcome.summed(2, parts)
    assert found.shots.tolist() == [0, 0]
    assert found.to_bytes() == Outcome.from_rows([(np.zeros(0), np.zeros(0))] * 2).to_bytes()


def test_a_part_of_a_plan_has_its_rows_and_randomness_of_its_own() -> None:
    circuit = Circuit.build(1, [Rotation(1, 0, None, 0)])
    bases = Bases(np.array([0, 1]), np.array([0, 0]))
    point, basis = np.array([0, 1, 1]), np.array([0, 0, 1])
    plan = ExecutionPlan(circuit, np.zeros((2, 1)), bases, point, basis, np.array([10, 20, 30]), (7,))
    part = plan.part(np.array([2, 2, 0]), np.array([25, 5, 10]), branch=3)
    assert part.point.tolist() == [1, 1, 0]
    assert part.basis.tolist() == [1, 1, 0]
    assert part.shots.tolist() == [25, 5, 10]
    assert part.seed == (7, 3)
    assert part.circuit is circuit
