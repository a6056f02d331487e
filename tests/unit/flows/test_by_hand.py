"""What a person changes by hand: a device's standing, a disputed bill; and where nothing can be kept."""

import json
from pathlib import Path

import pytest
from click import UsageError
from click.testing import CliRunner

from flows.cli import cli
from flows.exit_codes import EXIT_FAILED
from ledger import Amount, BudgetExceededError, Database, Journal, Ledger, jobs_of
from shotwise.errors import CannotRunError, ShotwiseError, SpecError
from tests.unit.tasks.journals import enter_run


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SHOTWISE_HOME", str(tmp_path))
    return tmp_path


def said(*arguments: str) -> str:
    return CliRunner().invoke(cli, arguments, catch_exceptions=False, standalone_mode=False).output


def test_a_device_is_taken_out_of_use_and_back() -> None:
    def health() -> str:
        return next(
            row["health"] for row in json.loads(said("devices", "--json")) if row["name"] == "sim-lima"
        )

    before = health()
    said("devices", "--quarantine", "sim-lima")
    assert health() == "quarantined: by hand"
    said("devices", "--release", "sim-lima")
    assert health() == before
    with pytest.raises(ShotwiseError, match="sim-nowhere"):
        said("devices", "--quarantine", "sim-nowhere")


def test_a_device_is_not_taken_out_of_use_and_back_in_one_command(home: Path) -> None:
    with pytest.raises(SpecError, match="quarantined and released"):
        said("devices", "--quarantine", "sim-lima", "--release", "sim-lima")
    assert not (home / "shotwise.db").exists()


def test_a_disputed_bill_is_accepted_or_waived(home: Path) -> None:
    database = Database(f"sqlite:///{home / 'shotwise.db'}")
    run_id = enter_run(Journal(database), "paid", [-1.0, -1.1], micro_usd=250)
    ledger = Ledger(database)
    ledger.set_limit("lab/p", micro_usd=500)
    first, second = (job.token for job in jobs_of(database, run_id))
    for token in (first, second):
        ledger.correct(token, "late", Amount(0, 100))
    assert {row["token"] for row in json.loads(said("budget", "disputes", "lab", "--json"))} == {
        first,
        second,
    }
    said("budget", "disputes", "lab", "--waive", first)
    ledger.set_limit("lab/p", micro_usd=600)
    assert second not in said("budget", "disputes", "lab", "--accept", second)
    assert ledger.balance("lab/p").posted.micro_usd == 600
    assert ledger.find(first).disputed == Amount()
    with pytest.raises(SpecError, match="nothing is disputed"):
        said("budget", "disputes", "lab", "--waive", first)


def disputed(home: Path, *over: int) -> tuple[Ledger, list[str]]:
    """A ledger with disputes of so many micro-USD on one run, and their tokens."""
    database = Database(f"sqlite:///{home / 'shotwise.db'}")
    run_id = enter_run(Journal(database), "paid", [-1.0 - at for at in range(len(over))], micro_usd=250)
    ledger = Ledger(database)
    ledger.set_limit("lab/p", micro_usd=250 * len(over))
    tokens = [job.token for job in jobs_of(database, run_id)]
    for token, micro_usd in zip(tokens, over, strict=True):
        ledger.correct(token, "late", Amount(0, micro_usd))
    return ledger, tokens


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--accept", 0, "--waive", 0), "accepted and waived"),
        (("--accept", 0, "--accept", 0), "named twice"),
        (("--accept", 0, "--accept", "typo"), "nothing is disputed"),
        (("--waive", 0, "--accept", "typo"), "nothing is disputed"),
    ],
)
def test_a_command_that_names_a_token_wrongly_ends_no_dispute(
    home: Path, arguments: tuple[str | int, ...], why: str
) -> None:
    ledger, tokens = disputed(home, 100)
    ledger.set_limit("lab/p", micro_usd=1000)
    before = ledger.entries("lab")
    named = [tokens[each] if isinstance(each, int) else each for each in arguments]
    with pytest.raises(SpecError, match=why):
        said("budget", "disputes", "lab", *named)
    assert ledger.entries("lab") == before


def test_a_token_may_be_named_by_its_beginning(home: Path) -> None:
    ledger, (first, second) = disputed(home, 100, 300)
    assert first[:12] in said("budget", "entries", "lab")
    with pytest.raises(SpecError, match="at least 8 characters"):
        said("budget", "disputes", "lab", "--waive", first[:7])
    with pytest.raises(SpecError, match="accepted and waived"):
        said("budget", "disputes", "lab", "--waive", first[:12], "--accept", first)
    said("budget", "disputes", "lab", "--waive", first[:12])
    assert [entry.token for entry in ledger.open_disputes("lab")] == [second]


def test_the_beginning_of_several_tokens_names_none(home: Path) -> None:
    ledger = Ledger(Database(f"sqlite:///{home / 'shotwise.db'}"))
    ledger.open_account("lab/p")
    ledger.set_limit("lab", micro_usd=100)
    tokens = ("deadbeef-1", "deadbeef-2", "deadbeef-22")
    for token in tokens:
        ledger.reserve(token, "lab/p", Amount(0, 1))
    for token in tokens:
        ledger.settle(token, Amount(0, 1000))
    with pytest.raises(SpecError, match="3 disputed tokens begin so"):
        said("budget", "disputes", "lab", "--waive", "deadbeef")
    said("budget", "disputes", "lab", "--waive", "deadbeef-2")  # a whole one is itself
    assert [entry.token for entry in ledger.open_disputes("lab")] == ["deadbeef-1", "deadbeef-22"]


def test_of_several_verdicts_all_are_entered_or_none(home: Path) -> None:
    ledger, (first, second) = disputed(home, 100, 300)
    ledger.set_limit("lab/p", micro_usd=700)
    before = ledger.entries("lab")
    with pytest.raises(BudgetExceededError):
        said("budget", "disputes", "lab", "--accept", first, "--accept", second)
    assert ledger.entries("lab") == before
    assert ledger.audit() == []


def test_open_disputes_of_all_accounts_are_listed(home: Path) -> None:
    _, (token,) = disputed(home, 100)
    assert token in said("budget", "disputes")
    with pytest.raises(UsageError, match="ACCOUNT"):
        said("budget", "disputes", "--waive", token)


def test_what_is_disputed_is_a_column_of_budgets(home: Path) -> None:
    ledger, (token,) = disputed(home, 30_000)
    shown = said("budget", "show", "lab")
    assert "disputed" in shown
    assert "$0.03" in shown
    assert "shots disputed" not in shown
    ledger.set_limit("lab/p", shots=100)
    ledger.correct(token, "more", Amount(7, 0))
    assert "shots disputed" in said("budget", "show", "lab")


def test_reconciling_ends_with_4_while_a_bill_is_disputed(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the bill says: the entry stays until somebody accepts or waives it."""
    ledger, (token,) = disputed(home, 100)
    monkeypatch.setattr("tasks.reconcile.reconcile", lambda *_, **__: [])
    (entry,) = ledger.open_disputes()
    for arguments in (("reconcile",), ("reconcile", "--correct")):
        done = CliRunner().invoke(cli, arguments)
        assert done.exit_code == EXIT_FAILED
        assert f"disputed: garnet {token[:12]}" in done.output
        assert f"`shotwise budget disputes {entry.account}`" in done.output
    said("budget", "disputes", entry.account, "--waive", token)
    assert CliRunner().invoke(cli, ["reconcile"]).exit_code == 0


def test_a_folder_that_cannot_be_made_is_said_in_a_line(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "file").write_text("")
    monkeypatch.setenv("SHOTWISE_HOME", str(home / "file"))
    with pytest.raises(CannotRunError, match="SHOTWISE_HOME"):
        said("budget", "set", "lab", "--usd", "1")
