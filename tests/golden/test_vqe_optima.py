"""Exact runs of the shipped examples reach the published energies and the best cut (the issue's figures)."""

from pathlib import Path

import pytest

from optimizers import Reason
from shotwise.spec import load_spec
from tasks.advance import advance
from tasks.evaluate import answer_exactly
from tasks.prepare import prepare
from tasks.result import RunResult, build_result, final_exact
from tasks.state import initial

EXAMPLES = Path(__file__).parents[2] / "examples"


def run_exactly(name: str) -> RunResult:
    prepared = prepare(load_spec(EXAMPLES / f"{name}.yaml"))
    state = initial(prepared)
    while state.reason is None:
        state, _ = advance(prepared, state, answer_exactly(prepared, state))
    final = final_exact(prepared, state)
    return build_result(prepared, name, state.with_sample(final.sample), final)


@pytest.mark.parametrize(
    ("name", "fci", "error_max"),
    [
        ("h2", -1.13727017, 1e-5),
        ("heh_plus", -2.85144601, 1e-5),
        ("lih_active", -7.88244391, 1.6e-3),
        ("lih_full", -7.88240341, 2e-5),
        ("h4_chain", -2.16638745, 1.6e-3),
    ],
)
def test_a_molecule_comes_within_its_bound_of_fci(name: str, fci: float, error_max: float) -> None:
    result = run_exactly(name)
    assert result.reference_method == "FCI"
    assert result.error is not None
    assert result.energy is not None
    assert -1e-9 <= result.error <= error_max
    assert result.reference_energy == pytest.approx(fci, abs=2e-7)


def test_maxcut_finds_the_optimal_cut_among_its_samples() -> None:
    result = run_exactly("maxcut_3regular")
    assert result.best_cut_value == result.reference_cut_value
    assert result.reason in set(Reason)


def test_weighted_cut_and_portfolio_find_their_optimum() -> None:
    assert run_exactly("maxcut_weighted").approximation_ratio == pytest.approx(1)
    portfolio = run_exactly("portfolio_qubo")
    assert portfolio.best_value == pytest.approx(portfolio.reference_energy)
