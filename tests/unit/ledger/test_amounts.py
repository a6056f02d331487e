"""Amounts as people read them, and accounts as people write them."""

import pytest

from ledger.accounts import path_to
from ledger.amounts import Currency, dollars, quantity
from shotwise.errors import SpecError


@pytest.mark.parametrize(
    ("micro_usd", "text"),
    [
        (0, "0.00 USD"),
        (1, "0.000001 USD"),
        (300_000, "0.30 USD"),
        (301_450, "0.30145 USD"),
        (-1_500_000, "-1.50 USD"),
        (12_345_678_900_000, "12,345,678.90 USD"),
        (10**15, "1,000,000,000.00 USD"),
        (2**62, "4,611,686,018,427.387904 USD"),
    ],
)
def test_money_is_shown_exactly(micro_usd: int, text: str) -> None:
    assert quantity(Currency.MICRO_USD, micro_usd) == text


@pytest.mark.parametrize(
    ("micro_usd", "text"),
    [
        (0, "$0.00"),
        (1, "$0.000001"),
        (99, "$0.000099"),
        (3_140, "$0.0031"),
        (-3_140, "$-0.0031"),
        (9_999, "$0.0100"),
        (10_000, "$0.01"),
        (1_234_500_000, "$1,234.50"),
    ],
)
def test_money_in_tables_is_never_nothing_where_it_is_something(micro_usd: int, text: str) -> None:
    assert dollars(micro_usd) == text


def test_a_path_names_all_accounts_above() -> None:
    assert path_to("acme/h2/h2-1f00") == ["acme", "acme/h2", "acme/h2/h2-1f00"]


@pytest.mark.parametrize(
    "bad", ["", "/", "a/", "/a", "a//b", "a/b/c/d", "a b", "../a", "a/%", "é", "a\0", "-a", "x" * 81, "a\n"]
)
def test_other_paths_are_refused(bad: str) -> None:
    with pytest.raises(SpecError, match="not an account path"):
        path_to(bad)
