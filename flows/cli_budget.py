"""The commands about money: budget."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from decimal import Context, Decimal, Inexact, InvalidOperation, localcontext
from typing import TYPE_CHECKING

import click

from flows.cli_options import json_option, open_ledger

if TYPE_CHECKING:
    from ledger import Balance

_MICRO = 1_000_000
_LIMIT_MAX = 2**62
_ENTRIES_MAX = 1_000_000


@click.group(invoke_without_command=True)
@click.pass_context
def budget(context: click.Context) -> None:
    """Show, set and list budgets. An account is TENANT, TENANT/PROJECT or TENANT/PROJECT/RUN."""
    if context.invoked_subcommand is None:
        context.invoke(budget_show)


@budget.command("show")
@click.argument("account", required=False)
@json_option("Print a JSON array.")
def budget_show(account: str | None = None, as_json: bool = False) -> None:
    """Limits, what is held, spent and disputed, and what is left."""
    ledger = open_ledger()
    if account is not None:
        ledger.balance(account)  # one that is not there is an error
    balances = ledger.balances(account)
    if as_json:
        click.echo(json.dumps([asdict(balance) for balance in balances]))
    else:
        _print_balances(balances)


@budget.command("set")
@click.argument("account")
@click.option("--usd", help="Money, or `none` for no limit.")
@click.option("--shots", help="Shots, or `none` for no limit.")
@click.option("--freeze", is_flag=True, help="Both limits to what is spent and held now.")
def budget_set(account: str, usd: str | None, shots: str | None, freeze: bool) -> None:
    """Limit ACCOUNT and all below it."""
    from ledger import UNCHANGED

    if freeze != (usd is None and shots is None):
        raise click.UsageError("say what to set: --usd, --shots or both; or --freeze alone")
    if freeze:
        ledger = open_ledger(make=True)
        ledger.freeze(account, note="frozen by hand")
        _print_balances(ledger.balances(account))
        return
    micro_usd = UNCHANGED if usd is None else _limit("--usd", usd, _MICRO)
    n_shots = UNCHANGED if shots is None else _limit("--shots", shots, 1)
    ledger = open_ledger(make=True)
    ledger.open_account(account)
    ledger.set_limit(account, shots=n_shots, micro_usd=micro_usd)
    _print_balances(ledger.balances(account))


@budget.command("entries")
@click.argument("account")
@click.option(
    "--limit",
    type=click.IntRange(1, _ENTRIES_MAX),
    default=50,
    show_default=True,
    help="How many, newest first.",
)
@json_option("Print a JSON array.")
def budget_entries(account: str, limit: int, as_json: bool) -> None:
    """The ledger's entries of ACCOUNT and all below it."""
    ledger = open_ledger()
    ledger.balance(account)  # one that is not there is an error
    entries = ledger.entries(account, limit=limit)
    if as_json:
        click.echo(json.dumps([asdict(entry) for entry in entries]))
        return
    from flows.terminal import print_table

    print_table(
        ("entry", "account", "kind", "shots", "usd", "token", "note"),
        [
            (
                str(e.entry_id),
                e.account,
                e.kind.value,
                "" if e.shots is None else f"{e.shots:,}",
                "" if e.micro_usd is None else f"{e.micro_usd / _MICRO:,.6f}",
                (e.token or "")[:12],
                e.note,
            )
            for e in entries
        ],
    )


@budget.command("disputes")
@click.argument("account", required=False)
@click.option("--accept", "accepted", multiple=True, metavar="TOKEN", help="Spend what was billed for TOKEN.")
@click.option("--waive", "waived", multiple=True, metavar="TOKEN", help="It was never owed.")
@json_option("Print a JSON array.")
def budget_disputes(
    account: str | None, accepted: tuple[str, ...], waived: tuple[str, ...], as_json: bool
) -> None:
    """What was billed above the limits of ACCOUNT and of all below it, until it is accepted or waived.

    Without ACCOUNT: of all accounts.
    """
    from ledger import BY_HAND
    from tasks.disputes import verdicts

    ends = bool(accepted or waived)
    if ends and account is None:
        raise click.UsageError("name the ACCOUNT whose disputes shall end")
    ledger = open_ledger(make=ends)
    if account is not None:
        ledger.balance(account)  # one that is not there is an error
    if ends and account is not None:
        ended = verdicts(ledger.open_disputes(account), accepted, waived, account)
        ledger.resolve_all(ended, note=BY_HAND)
    left = ledger.open_disputes(account)
    if as_json:
        click.echo(json.dumps([asdict(entry) for entry in left]))
        return
    from flows.terminal import print_table
    from ledger import dollars

    rows = [(e.token or "", e.account, dollars(e.micro_usd or 0, 6), e.note) for e in left]
    print_table(("token", "account", "usd", "note"), rows)


def _limit(option: str, text: str, unit: int) -> int | None:
    """An amount in units, exactly as written; None is no limit.

    Compared before it becomes an integer, which of a large exponent would take minutes.
    """
    from shotwise.errors import SpecError

    if text == "none":
        return None
    try:
        with localcontext(Context(traps=[InvalidOperation, Inexact])):
            amount = Decimal(text) * unit
            if 0 <= amount <= _LIMIT_MAX and amount == int(amount):
                return int(amount)
    except ArithmeticError:
        pass
    remedy = f"give 0 to {_LIMIT_MAX // unit} in steps of {1 / Decimal(unit):f}, or `none`"
    raise SpecError(option, text, "not an amount that can be set", remedy)


def _print_balances(balances: Sequence[Balance]) -> None:
    from flows.terminal import print_table

    columns = ("account", "limit", "held", "spent", "disputed", "left")
    columns += ("shots limit", "shots held", "shots spent")
    rows = [_balance_row(balance) for balance in balances]
    if any(balance.disputed.shots for balance in balances):  # as good as never
        columns += ("shots disputed",)
        rows = [[*row, f"{balance.disputed.shots:,}"] for row, balance in zip(rows, balances, strict=True)]
    print_table(columns, rows)


def _balance_row(balance: Balance) -> list[str]:
    from ledger import Currency, dollars

    def usd(value: int | None) -> str:
        return "none" if value is None else dollars(value)

    limit, shots = balance.limit(Currency.MICRO_USD), balance.limit(Currency.SHOTS)
    return [
        balance.account,
        usd(limit),
        usd(balance.held.micro_usd),
        usd(balance.posted.micro_usd),
        usd(balance.disputed.micro_usd),
        usd(balance.left(Currency.MICRO_USD)),
        "none" if shots is None else f"{shots:,}",
        f"{balance.held.shots:,}",
        f"{balance.posted.shots:,}",
    ]


COMMANDS = (budget,)
