"""Limits that people write: taken exactly, or refused in a line at once."""

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from flows.cli import cli
from ledger import Amount, BudgetExceededError, Currency, Database, Ledger, LimitTooLowError
from shotwise.errors import SpecError
from tests.databases import new_journal


@pytest.fixture(autouse=True)
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Database:
    monkeypatch.setenv("SHOTWISE_HOME", str(tmp_path))
    monkeypatch.delenv("DATABASE_URL", raising=False)
    return new_journal(tmp_path / "shotwise.db")


def limit(*arguments: str) -> None:
    CliRunner().invoke(
        cli, ["budget", "set", "lab", *arguments], catch_exceptions=False, standalone_mode=False
    )


@pytest.mark.timeout(60)
@pytest.mark.parametrize("option", ["--usd", "--shots"])
@pytest.mark.parametrize(
    "text",
    [
        "1e900000",
        "1e999999999",
        "1e-999999999",
        "1e9999999999999999999999",
        "1e-7",
        "1.00000000000000000000000000000000001",
        "4611686018427387905",
        "-1",
        "nan",
        "snan",
        "inf",
        "ten",
    ],
)
def test_what_cannot_be_kept_is_refused(option: str, text: str, database: Database) -> None:
    with pytest.raises(SpecError, match="not an amount") as caught:
        limit(option, text)
    assert "\n" not in str(caught.value)
    assert Ledger(database).balances() == []


@pytest.mark.parametrize(
    ("text", "micro_usd"),
    [
        ("0", 0),
        ("0.000001", 1),
        ("2e2", 200_000_000),
        ("4611686018427.387904", 2**62),
        ("none", None),
    ],
)
def test_an_amount_is_kept_to_the_last_place(text: str, micro_usd: int | None, database: Database) -> None:
    limit("--usd", text)
    assert Ledger(database).balance("lab").limit(Currency.MICRO_USD) == micro_usd


def test_an_account_is_frozen_at_what_it_has_used(database: Database) -> None:
    ledger = Ledger(database)
    ledger.open_account("lab/p")
    for token in ("spent", "held"):
        ledger.reserve(token, "lab/p", Amount(100, 5_000_000))
    ledger.settle("spent", Amount(100, 4_620_000))
    with pytest.raises(LimitTooLowError, match="budget set lab --freeze"):
        limit("--usd", "1")
    limit("--freeze")
    frozen = ledger.balance("lab")
    assert (frozen.limit_shots, frozen.limit_micro_usd) == (200, 9_620_000)
    for asked in (Amount(1, 0), Amount(0, 1)):
        with pytest.raises(BudgetExceededError):
            ledger.reserve("more", "lab/p", asked)
    ledger.settle("held", Amount(100, 5_000_000))
    assert ledger.audit() == []


def test_only_an_account_that_is_there_is_frozen(database: Database) -> None:
    with pytest.raises(SpecError, match="no such account"):
        limit("--freeze")
    for given in (["--freeze", "--usd", "1"], []):
        with pytest.raises(click.UsageError, match="--freeze alone"):
            limit(*given)
    assert Ledger(database).balances() == []
