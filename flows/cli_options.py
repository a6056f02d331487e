"""What commands have in common: their options, and the state folder's database opened."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ledger import Database, Journal, Ledger

spec_argument = click.argument("spec", type=click.Path(path_type=Path))
set_option = click.option(
    "--set", "overrides", multiple=True, metavar="a.b=c", help="Override a field of the spec."
)


def json_option(text: str):
    """The option `--json`."""
    return click.option("--json", "as_json", is_flag=True, help=text)


def open_database(*, make: bool = False) -> Database:
    """The database of the state folder, made where something shall be written.

    A question that comes before anything was entered is told so, and gets an empty one that is kept nowhere.

    Raises:
        CannotRunError: it cannot be made or reached.
    """
    from ledger import Database
    from shotwise.home import Home

    home = Home.from_environment()
    if make:
        return Database(home.make().database_url)
    if not home.has_database:
        click.echo(f"nothing was run in {home.root} yet; SHOTWISE_HOME names another folder", err=True)
    return Database(home.asked_url)


def open_journal() -> Journal:
    """The journal of the state folder, to be asked."""
    from ledger import Journal

    return Journal(open_database())


def open_ledger(*, make: bool = False) -> Ledger:
    """The ledger of the state folder; see `open_database`."""
    from ledger import Ledger

    return Ledger(open_database(make=make))
