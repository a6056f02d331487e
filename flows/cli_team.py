"""The commands of a team: up, down, submit, status, cancel."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path

import click

from flows.cli_options import json_option, open_journal, set_option, spec_argument
from flows.exit_codes import EXIT_FAILED


@click.command()
@click.option("--host", help="Address to listen on. Anything but loopback needs credentials.  [127.0.0.1]")
@click.option("--prefect-port", type=click.IntRange(1, 65535), help="[4200]")
@click.option("--mlflow-port", type=click.IntRange(1, 65535), help="[5050]")
@click.option("--workers", type=click.IntRange(0, 64), help="Worker processes.  [1]")
@click.option("--runs-a-worker", type=click.IntRange(1, 256), help="Runs that a worker drives at once.  [4]")
def up(**chosen: object) -> None:
    """Start a team's services on this machine: PostgreSQL, MLflow, Prefect with its deployments, workers.

    What runs already is left alone. What is chosen is remembered for the next time.
    """
    from deployments.stack import Stack
    from shotwise.home import Home

    began = time.monotonic()
    stack = Stack.saved(Home.from_environment(), **{k: v for k, v in chosen.items() if v is not None})
    team = stack.up(lambda step: click.echo(step, err=True))
    click.echo(f"Prefect   {team.prefect_api_url.removesuffix('/api')}")
    click.echo(f"MLflow    {team.mlflow_url}")
    click.echo(f"logs      {stack.home.logs}")
    if paused := stack.paused():
        click.echo(f"paused    {', '.join(paused)}: resume them in Prefect's UI")
    click.echo(f"up after {time.monotonic() - began:.0f} s; send a run with `shotwise submit SPEC`")


@click.command()
def down() -> None:
    """End what `up` started. State stays; runs that were going on go on at the next `up`."""
    from deployments.stack import Stack
    from shotwise.home import Home

    click.echo("down" if Stack.saved(Home.from_environment()).down() else "nothing was running")


@click.command()
@spec_argument
@set_option
@click.option(
    "--queue", type=click.Choice(["critical", "default", "low"]), default="default", show_default=True
)
@json_option("Print one JSON object.")
def submit(spec: Path, overrides: tuple[str, ...], queue: str, as_json: bool) -> None:
    """Send SPEC to the team's workers, and return at once."""
    from shotwise.spec import load_spec

    loaded = load_spec(spec, overrides)
    home = _team_home()
    from tasks.submitting import Submitter

    with Submitter(home) as submitter:
        run_id = submitter.submit(loaded, queue)
    if as_json:
        click.echo(json.dumps({"run_id": run_id, "queue": queue}))
        return
    click.echo(run_id)


@click.command()
@click.option("--all", "everything", is_flag=True, help="Also runs that have ended.")
@json_option("Print a JSON array, oldest first.")
def status(everything: bool, as_json: bool) -> None:
    """List the team's runs: waiting, driven, or to be gone on with."""
    _team_home()
    from tasks.submitting import team_status

    rows = team_status(open_journal(), everything=everything)
    if as_json:
        click.echo(json.dumps([asdict(row) for row in rows]))
        return
    from flows.terminal import print_table

    columns = ("run", "state", "queue", "iterations", "energy", "worker")
    table = [
        (
            row.run_id,
            row.display_state,
            row.queue,
            str(row.iterations),
            "" if row.energy is None else f"{row.energy:.8f}",
            row.driver or "",
        )
        for row in rows
    ]
    print_table(columns, table)


@click.command()
@click.argument("run_id")
def cancel(run_id: str) -> None:
    """End RUN_ID: settle what is in flight, release the rest. Works whether or not anything drives it.

    Exit code 3 where it has ended already, 4 where its driver has not obeyed within a minute.
    """
    from ledger import RunState

    journal = open_journal()
    journal.run(run_id)
    from tasks.cancelling import cancel as cancel_run

    state = cancel_run(journal, run_id)
    if state is RunState.RUNNING:
        click.echo(f"{run_id} is in the middle of a step and ends after it; see `shotwise status`", err=True)
        sys.exit(EXIT_FAILED)
    click.echo(f"{run_id} {state}")


def _team_home():
    """The folder, if it is a team's, with the team's server for whatever imports Prefect from here on."""
    import os

    from shotwise.errors import CannotRunError
    from shotwise.home import Home

    home = Home.from_environment()
    url = os.environ.get("PREFECT_API_URL") or (home.team.prefect_api_url if home.team else None)
    if url is None:
        raise CannotRunError("SHOTWISE_HOME", home.root, "no team runs here", "start one with `shotwise up`")
    os.environ["PREFECT_API_URL"] = url
    return home


COMMANDS = (up, down, submit, status, cancel)
