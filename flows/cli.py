"""The command `shotwise`. Every command imports what it needs when it runs, so that help is instant."""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from flows import (
    cli_budget,
    cli_compare,
    cli_devices,
    cli_metrics,
    cli_plan,
    cli_reconcile,
    cli_show,
    cli_sweep,
    cli_team,
)
from flows.cli_options import CommandGroup, json_option, open_journal, set_option, spec_argument
from flows.cli_show import show_result
from flows.exit_codes import EXIT_FAILED, EXIT_INTERRUPTED
from shotwise.leaving import leaving_at_once

if TYPE_CHECKING:
    from shotwise.home import Home


@click.group(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="shotwise", prog_name="shotwise")
def cli() -> None:
    """Closed-loop variational quantum optimization that survives any crash.

    State lives in one folder: SHOTWISE_HOME, default ./.shotwise
    """


_GROUPS = (
    cli_devices,
    cli_plan,
    cli_budget,
    cli_reconcile,
    cli_sweep,
    cli_show,
    cli_compare,
    cli_metrics,
    cli_team,
)
for _command in itertools.chain.from_iterable(group.COMMANDS for group in _GROUPS):
    cli.add_command(_command)


@cli.command()
@spec_argument
@set_option
@json_option("Print one JSON object on standard output.")
@click.option("--quiet", is_flag=True, help="Show no progress.")
def run(spec: Path, overrides: tuple[str, ...], as_json: bool, quiet: bool) -> None:
    """Run SPEC, a YAML or JSON file, to its end."""
    from shotwise.spec import load_spec

    _drive(load_spec(spec, overrides), None, as_json=as_json, quiet=quiet)


@cli.command()
@click.argument("run_id")
@json_option("Print one JSON object on standard output.")
@click.option("--quiet", is_flag=True, help="Show no progress.")
def resume(run_id: str, as_json: bool, quiet: bool) -> None:
    """Go on with RUN_ID from its journal, exactly where it was."""
    from ledger import CALIBRATION, RunState
    from shotwise.errors import CannotRunError
    from tasks.run_records import spec_of

    journal = open_journal()
    record = journal.run(run_id)
    if record.state is RunState.COMPLETED:
        show_result(_home(), journal, run_id, as_json=as_json)
        return
    if record.state is RunState.CANCELLED:
        raise CannotRunError("RUN_ID", run_id, "was cancelled", "run its spec anew")
    if record.kind == CALIBRATION:
        remedy = "the next probe of the device goes on with it; `shotwise cancel` ends it"
        raise CannotRunError("RUN_ID", run_id, "is a probe of a device, not a run", remedy)
    journal.check_free(run_id)
    _drive(spec_of(record), run_id, as_json=as_json, quiet=quiet)


@cli.command()
@json_option("Print a JSON array, oldest first.")
def runs(as_json: bool) -> None:
    """List all runs, oldest first. A lost one lost its process: `shotwise resume` goes on with it."""
    from tasks.run_records import row_of

    journal = open_journal()
    rows: list[dict[str, Any]] = [
        {**row_of(record), "state": journal.effective_state(record)} for record in journal.all_runs()
    ]
    if as_json:
        click.echo(json.dumps(rows))
        return
    from flows.terminal import print_table
    from tasks.interval import told

    columns = ("run_id", "name", "state", "reason")
    print_table(
        (*columns, "energy, 95 %"),
        [
            [*(row[c] or "" for c in columns), told(row["energy"], row["energy_std_error"], row["unit"])]
            for row in rows
        ],
    )


@cli.command()
@click.argument("run_id")
@click.option("--csv", is_flag=True, expose_value=False, help="What it always is; need not be said.")
def export(run_id: str) -> None:
    """Print the iterations of RUN_ID as a table in CSV; totals hold what a pilot before them took."""
    journal = open_journal()
    record = journal.run(run_id)
    from tasks.convergence import iteration_table
    from tasks.run_records import had_pilot, minimises_tail, spec_fields

    table = iteration_table(
        journal.iterations(run_id),
        pilot=had_pilot(journal, run_id),
        tail=minimises_tail(spec_fields(record)),
    )
    table.to_csv(sys.stdout, index=False)


@cli.command()
@spec_argument
@set_option
def validate(spec: Path, overrides: tuple[str, ...]) -> None:
    """Check SPEC, the chemistry and the sizes included, and run nothing."""
    from shotwise.spec import load_spec
    from shotwise.words import quantity

    loaded = load_spec(spec, overrides)
    from tasks.readiness import check_ready, check_sizes

    prepared = check_ready(loaded)
    if prepared is None:
        click.echo(f"{spec}: good. No circuit will run")
        return
    check_sizes(prepared)
    circuit = prepared.stage().circuit
    click.echo(
        f"{spec}: good. {quantity(prepared.problem.n_qubits, 'qubit')}, "
        f"{quantity(circuit.n_parameters, 'parameter')}, "
        f"{quantity(len(prepared.problem.hamiltonian), 'Pauli term')} in "
        f"{quantity(len(prepared.grouping), 'group')}"
    )


@cli.command()
def ui() -> None:
    """Serve the Prefect and MLflow UIs on this state folder until Ctrl-C."""
    from flows.ui import serve

    serve(_home())


def _drive(spec: Any, run_id: str | None, *, as_json: bool, quiet: bool) -> None:
    from flows.session import drive
    from flows.terminal import ProgressLine
    from ledger import RunState

    home = _home().make()
    line = None if quiet else ProgressLine()
    run_id = drive(home, spec, run_id, line, line.tell_entered if line and not as_json else None)
    journal = open_journal()
    state = journal.run(run_id).state
    if state is RunState.CANCELLED:
        click.echo(f"{run_id} was cancelled; what was in flight is settled", err=True)
        sys.exit(EXIT_INTERRUPTED)
    if state is RunState.INTERRUPTED:
        click.echo(f"interrupted; the journal is intact. Go on with: shotwise resume {run_id}", err=True)
        sys.exit(EXIT_INTERRUPTED)
    show_result(home, journal, run_id, as_json=as_json)
    if state is RunState.FAILED:
        sys.exit(EXIT_FAILED)


def _home() -> Home:
    from shotwise.home import Home

    return Home.from_environment()


def start() -> None:
    """Entry point of a process that does nothing else."""
    with leaving_at_once():
        main()


def main() -> None:
    """The command line: every error of ours is one line on standard error and its own exit code."""
    from shotwise.errors import ShotwiseError

    try:
        cli.main(standalone_mode=False)
    except (click.exceptions.Abort, KeyboardInterrupt):
        click.echo("interrupted; see `shotwise runs`, go on with `shotwise resume RUN_ID`", err=True)
        sys.exit(EXIT_INTERRUPTED)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except ShotwiseError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    except Exception as error:
        click.echo(f"error: {type(error).__name__}: {error}; details in {_log_failure()}", err=True)
        sys.exit(EXIT_FAILED)


def _log_failure() -> str:
    """Keep the traceback of a failure that is not the user's, out of the user's sight; says where."""
    import traceback

    from shotwise.errors import ShotwiseError

    try:
        logs = _home().make().logs
        logs.mkdir(exist_ok=True)
        with (logs / "failures.log").open("a") as log:
            traceback.print_exc(file=log)
    except (OSError, ShotwiseError) as error:
        return f"no file ({error})"
    return str(logs / "failures.log")


if __name__ == "__main__":
    start()
