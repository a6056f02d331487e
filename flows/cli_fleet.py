"""The commands about devices and money: devices, plan, budget, reconcile."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from decimal import Context, Decimal, Inexact, InvalidOperation, localcontext
from pathlib import Path
from typing import TYPE_CHECKING

import click

from flows.exit_codes import EXIT_CANNOT_RUN, EXIT_FAILED

if TYPE_CHECKING:
    from backends.dispatch import Decision, Verdict
    from ledger import Balance, Ledger
    from tasks.planner import RunPlan

_MICRO = 1_000_000
_LIMIT_MAX = 2**62


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
@click.option("--all", "everything", is_flag=True, help="Also devices that are not enabled.")
@click.option(
    "--quarantine", "distrusted", multiple=True, metavar="DEVICE", help="Take DEVICE out of use first."
)
@click.option(
    "--release", "trusted", multiple=True, metavar="DEVICE", help="Take DEVICE back into use first."
)
def devices(as_json: bool, everything: bool, distrusted: tuple[str, ...], trusted: tuple[str, ...]) -> None:
    """List the devices with health, calibration age and the price of a reference job.

    The reference job is one circuit on two qubits with 1000 shots. Jobs are those of the last day: done,
    failed, and such of which nobody can say yet whether they were bought.
    """
    from shotwise.home import Home
    from tasks.device_list import device_rows

    _set_apart(distrusted, trusted)
    ledger = _ledger() if Home.from_environment().has_database else None
    rows = device_rows(ledger.database if ledger else None, everything=everything)
    if as_json:
        click.echo(json.dumps(rows))
        return
    from flows.terminal import print_table

    columns = ("device", "provider", "qubits", "health", "calibration", "queue", "reference job", "jobs")
    print_table(
        columns,
        [
            (
                row["name"],
                row["provider"],
                str(row["n_qubits"]),
                row["health"],
                "" if row["calibration_age_s"] is None else f"{row['calibration_age_s'] / 3600:.1f} h",
                f"{row['queue_s']:.0f} s",
                f"${row['reference_job_micro_usd'] / _MICRO:.4f}",
                _jobs(row),
            )
            for row in rows
        ],
    )


def _set_apart(distrusted: tuple[str, ...], trusted: tuple[str, ...]) -> None:
    """Quarantine and release by hand, once every device is known to exist."""
    from backends.fleet import Fleet
    from ledger import DeviceHealth

    names = (*distrusted, *trusted)
    if not names:
        return
    fleet, health = Fleet(names), DeviceHealth(_ledger().database)
    for name in names:
        fleet.description(name)
    for name in names:
        health.set(name, quarantined=name in distrusted, reason="by hand")


def _jobs(row: dict) -> str:
    told = [f"{row['jobs_' + how]} {how}" for how in ("done", "failed", "unknown") if row["jobs_" + how]]
    return ", ".join(told)


@click.command()
@click.argument("spec", type=click.Path(path_type=Path))
@click.option("--set", "overrides", multiple=True, metavar="a.b=c", help="Override a field of the spec.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def plan(spec: Path, overrides: tuple[str, ...], as_json: bool) -> None:
    """Say what SPEC would do and cost, without running it. Exit code 3 where nothing can run it."""
    from shotwise.spec import load_spec

    loaded = load_spec(spec, overrides)
    from tasks.readiness import check_ready

    prepared = check_ready(loaded)
    if prepared is None or not prepared.sampled:
        click.echo(json.dumps({"shots": 0, "cost_usd_max": 0.0}) if as_json else "exact: no shots, no cost")
        return
    from ledger import Currency
    from tasks.planner import plan_run
    from tasks.routing import set_aside

    payer = loaded.account
    rooms = _ledger().rooms(f"{payer.tenant}/{payer.project}", Currency.MICRO_USD)
    planned = plan_run(
        prepared,
        micro_usd_left=min(rooms.values(), default=None),
        without=set_aside(prepared, _ledger().database),
    )
    click.echo(json.dumps(_plan_json(planned))) if as_json else _print_plan(planned)
    if planned.refusal or planned.iterations_affordable == 0:
        sys.exit(EXIT_CANNOT_RUN)


def _plan_json(planned: RunPlan) -> dict:
    return {
        **asdict(planned),
        "cost_usd_max": None
        if planned.worst_case_micro_usd is None
        else planned.worst_case_micro_usd / _MICRO,
        "shots_max": planned.worst_case_shots,
    }


def _print_plan(planned: RunPlan) -> None:
    from flows.terminal import print_table

    affordable = planned.iterations_affordable
    refusal = planned.refusal
    if affordable == 0 and not refusal:
        refusal = "the budget has no room for one iteration and the final evaluation"
    rows = [
        ("qubits, parameters", f"{planned.n_qubits}, {planned.parameters}"),
        ("measurement groups", str(planned.groups)),
        (
            "the first iteration" if planned.adaptive else "one iteration",
            f"{planned.energies} energies, {planned.circuits} circuits, {planned.shots:,} shots",
        ),
        *([("a pilot before it", f"{planned.pilot_shots:,} shots")] if planned.pilot_shots else []),
        (
            "the final evaluation",
            f"{planned.final_shots:,} shots, standard error about {planned.std_error:.1e} by sampling alone",
        ),
        *planned.method.items(),
    ]
    prices = [
        ("one iteration costs at most", f"${planned.iteration_micro_usd / _MICRO:,.2f}"),
        ("the final evaluation at most", f"${planned.final_micro_usd / _MICRO:,.2f}"),
        ("one iteration takes about", f"{planned.seconds:,.0f} s"),
        ("worst case of the whole run", _worst_case(planned)),
        ("the budget allows", "no limit" if affordable is None else f"{affordable} iterations"),
    ]
    if planned.mitigation:
        prices.append(("mitigation", planned.mitigation))
        prices.append(("a readout calibration at most", f"${planned.calibration_micro_usd / _MICRO:,.2f}"))
    if planned.refusal is None:  # else no device said a price
        rows += prices
    if refusal:
        rows.append(("cannot run", refusal))
    print_table(("", ""), rows)
    if planned.decision is not None:
        print_decision(planned.decision, title=f"every iteration, policy {planned.decision.policy}")
    if planned.final_decision is not None:
        at_end = planned.final_decision
        print_decision(at_end, title=f"the final evaluation, policy {at_end.policy}")


def _worst_case(planned: RunPlan) -> str:
    if planned.worst_case_micro_usd is None or planned.worst_case_shots is None:
        guess = f"about {planned.optimization_shots:,} shots to the precision asked for"
        return f"{guess}; the optimizer chooses, only the budget bounds them"
    money = f"${planned.worst_case_micro_usd / _MICRO:,.2f}"
    return f"{planned.iterations_max} iterations, {planned.worst_case_shots:,} shots, {money}"


def print_decision(decision: Decision, *, title: str) -> None:
    """Every candidate of a decision, best first, with its predictions and why it won or lost."""
    from flows.terminal import print_table

    print_table(
        ("device", "cost", "time", "error", "success", "verdict"),
        [_verdict_row(verdict) for verdict in decision.verdicts],
        title=title,
    )


def _verdict_row(verdict: Verdict) -> tuple[str, ...]:
    """A device that was refused before anything was predicted of it has no figures."""
    told = verdict.candidate
    if verdict.score is None and not told.std_error:
        return (told.device, "", "", "", "", verdict.reason)
    return (
        told.device,
        f"${told.cost_micro_usd / _MICRO:,.4f}",
        f"{told.time_s:,.0f} s",
        f"{told.error:.1e}",
        f"{told.success:.3f}",
        verdict.reason,
    )


@click.group(invoke_without_command=True)
@click.pass_context
def budget(context: click.Context) -> None:
    """Show, set and list budgets. An account is TENANT, TENANT/PROJECT or TENANT/PROJECT/RUN."""
    if context.invoked_subcommand is None:
        context.invoke(budget_show)


@budget.command("show")
@click.argument("account", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
def budget_show(account: str | None = None, as_json: bool = False) -> None:
    """Limits, what is held and spent, and what is left."""
    ledger = _ledger()
    if account is not None:
        ledger.balance(account)  # one that is not there is an error
    balances = ledger.balances(account)
    if as_json:
        click.echo(json.dumps([asdict(balance) for balance in balances]))
        return
    from flows.terminal import print_table

    columns = ("account", "limit", "held", "spent", "left", "shots limit", "shots held", "shots spent")
    print_table(columns, [_balance_row(balance) for balance in balances])


@budget.command("set")
@click.argument("account")
@click.option("--usd", help="Money, or `none` for no limit.")
@click.option("--shots", help="Shots, or `none` for no limit.")
def budget_set(account: str, usd: str | None, shots: str | None) -> None:
    """Limit ACCOUNT and all below it."""
    from ledger import KEEP

    if usd is None and shots is None:
        raise click.UsageError("say what to set: --usd, --shots or both")
    micro_usd = KEEP if usd is None else _limit("--usd", usd, _MICRO)
    n_shots = KEEP if shots is None else _limit("--shots", shots, 1)
    ledger = _ledger()
    ledger.open_account(account)
    ledger.set_limit(account, shots=n_shots, micro_usd=micro_usd)
    budget_show.callback(account)  # pyright: ignore[reportOptionalCall]


@budget.command("entries")
@click.argument("account")
@click.option("--limit", default=50, show_default=True, help="How many, newest first.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
def budget_entries(account: str, limit: int, as_json: bool) -> None:
    """The ledger's entries of ACCOUNT and all below it."""
    entries = _ledger().entries(account, limit=limit)
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
@click.argument("account")
@click.option("--accept", "accepted", multiple=True, metavar="TOKEN", help="Spend what was billed for TOKEN.")
@click.option("--waive", "waived", multiple=True, metavar="TOKEN", help="It was never owed.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
def budget_disputes(account: str, accepted: tuple[str, ...], waived: tuple[str, ...], as_json: bool) -> None:
    """What was billed above the limits of ACCOUNT and of all below it, until it is accepted or waived."""
    from shotwise.errors import SpecError

    ledger = _ledger()
    for token in (*accepted, *waived):
        disputes = [e for e in ledger.open_disputes(account) if e.token == token]
        if not disputes:
            raise SpecError(
                "TOKEN", token, "nothing is disputed", f"see `shotwise budget disputes {account}`"
            )
        for dispute in disputes:
            ledger.resolve(token, dispute.step or "", accept=token in accepted, note="by hand")
    left = ledger.open_disputes(account)
    if as_json:
        click.echo(json.dumps([asdict(entry) for entry in left]))
        return
    from flows.terminal import print_table

    rows = [(e.token or "", e.account, f"${(e.micro_usd or 0) / _MICRO:,.6f}", e.note) for e in left]
    print_table(("token", "account", "usd", "note"), rows)


@click.command()
@click.option("--correct", is_flag=True, help="Enter late corrections of the bill into the ledger.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
def reconcile(correct: bool, as_json: bool) -> None:
    """Compare ledger, journal and the providers' bills; exit code 4 where they differ."""
    from backends.fleet import Fleet
    from ledger import Database
    from shotwise.home import Home
    from tasks.credentials import credential
    from tasks.reconcile import reconcile_and_record as compare

    home = Home.from_environment()
    fleet = Fleet((), home.root / "local-jobs", secret=credential)
    found = compare(Database(home.database_url), fleet.provider, correct=correct)
    if as_json:
        click.echo(json.dumps([{**vars(d), "kind": d.kind.value} for d in found]))
    else:
        for d in found:
            amounts = f"ours ${d.journal_micro_usd / _MICRO:.6f}, theirs ${d.other_micro_usd / _MICRO:.6f}"
            note = f"{d.note} (corrected)" if d.corrected else d.note
            click.echo(f"{d.kind}: {d.device} {d.token[:12]} {amounts} {note}")
        click.echo(f"{len(found)} differences")
    if any(not d.corrected for d in found):
        sys.exit(EXIT_FAILED)


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


def _balance_row(balance: Balance) -> list[str]:
    from ledger import Currency

    def usd(value: int | None) -> str:
        return "none" if value is None else f"${value / _MICRO:,.2f}"

    limit, shots = balance.limit(Currency.MICRO_USD), balance.limit(Currency.SHOTS)
    return [
        balance.account,
        usd(limit),
        usd(balance.held.micro_usd),
        usd(balance.posted.micro_usd),
        usd(balance.left(Currency.MICRO_USD)),
        "none" if shots is None else f"{shots:,}",
        f"{balance.held.shots:,}",
        f"{balance.posted.shots:,}",
    ]


def _ledger() -> Ledger:
    from ledger import Database, Ledger
    from shotwise.home import Home

    return Ledger(Database(Home.from_environment().database_url))


COMMANDS = (devices, plan, budget, reconcile)
