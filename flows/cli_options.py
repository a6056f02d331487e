"""What commands have in common: their options, and the state folder's database opened."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from shotwise.errors import CannotRunError

if TYPE_CHECKING:
    from ledger import Database, Journal, Ledger, NotOpenedError

spec_argument = click.argument("spec", type=click.Path(path_type=Path))
set_option = click.option(
    "--set", "overrides", multiple=True, metavar="a.b=c", help="Override a field of the spec."
)


class CommandGroup(click.Group):
    """Commands whose database, where it cannot be opened, is named as the person who types them knows it."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except CannotRunError as error:
            from ledger import NotOpenedError

            if not isinstance(error, NotOpenedError):
                raise
            raise _as_named(error) from None


def _as_named(error: NotOpenedError) -> CannotRunError:
    """By a `DATABASE_URL` of theirs, or by the state folder."""
    from ledger import NoAddressError
    from shotwise.home import Home

    if isinstance(error, NoAddressError) or os.environ.get("DATABASE_URL"):
        return CannotRunError("DATABASE_URL", error.address, error.cause, error.remedy)
    if error.unreachable:
        root = Home.from_environment().root
        return CannotRunError("SHOTWISE_HOME", root, "its team is down", "start it with `shotwise up`")
    remedy = "see that the folder is readable and writable"
    if error.damaged:
        remedy = "restore it from a backup, or name another folder"
    return CannotRunError("SHOTWISE_HOME", error.address, f"its journal {error.cause}", remedy)


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
        click.echo(f"nothing was run in {home.root} yet; set SHOTWISE_HOME to look elsewhere", err=True)
    return Database(home.asked_url)


def open_journal() -> Journal:
    """The journal of the state folder, to be asked."""
    from ledger import Journal

    return Journal(open_database())


def open_ledger(*, make: bool = False) -> Ledger:
    """The ledger of the state folder; see `open_database`."""
    from ledger import Ledger

    return Ledger(open_database(make=make))
