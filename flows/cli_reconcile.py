"""The command that holds three records against each other: reconcile."""

from __future__ import annotations

import json
import sys

import click

from flows.cli_options import json_option, open_database
from flows.exit_codes import EXIT_FAILED


@click.command()
@click.option("--correct", is_flag=True, help="Enter late corrections of the bill into the ledger.")
@json_option("Print a JSON array.")
def reconcile(correct: bool, as_json: bool) -> None:
    """Compare ledger, journal and the providers' bills; exit code 4 where they differ, or one is disputed."""
    from ledger import dollars
    from tasks.fleet import open_fleet
    from tasks.reconcile import count_told
    from tasks.reconcile import reconcile_and_record as compare

    with open_fleet() as fleet:
        found = compare(open_database(), fleet.provider, correct=correct)
    if as_json:
        click.echo(json.dumps([{**vars(d), "kind": d.kind.value} for d in found]))
    else:
        for d in found:
            amounts = f"ours {dollars(d.journal_micro_usd, 6)}, theirs {dollars(d.other_micro_usd, 6)}"
            click.echo(f"{d.kind}: {d.device} {d.token[:12]} {amounts} {d.told}")
        click.echo(count_told(found))
    if any(d.remains for d in found):
        sys.exit(EXIT_FAILED)


COMMANDS = (reconcile,)
