"""The command `shotwise`. Every command imports what it needs when it runs, so that help is instant."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from flows import cli_compare, cli_fleet, cli_metrics, cli_sweep, cli_team
from flows.cli_fleet import print_decision

if TYPE_CHECKING:
    from ledger import Journal, RunRecord
    from shotwise.home import Home

EXIT_FAILED = 4
EXIT_INTERRUPTED = 130


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="shotwise", prog_name="shotwise")
def cli() -> None:
    """Closed-loop variational quantum optimization that survives any crash.

    State lives in one folder: SHOTWISE_HOME, default ./.shotwise
    """


for _command in (
    *cli_fleet.COMMANDS,
    *cli_sweep.COMMANDS,
    *cli_compare.COMMANDS,
    *cli_metrics.COMMANDS,
    *cli_team.COMMANDS,
):
    cli.add_command(_command)


@cli.command()
@click.argument("spec", type=click.Path(path_type=Path))
@click.option("--set", "overrides", multiple=True, metavar="a.b=c", help="Override a field of the spec.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on standard output.")
@click.option("--quiet", is_flag=True, help="Show no progress.")
def run(spec: Path, overrides: tuple[str, ...], as_json: bool, quiet: bool) -> None:
    """Run SPEC, a YAML or JSON file, to its end."""
    from shotwise.spec import load_spec

    _drive(load_spec(spec, overrides), None, as_json=as_json, quiet=quiet)


@cli.command()
@click.argument("run_id")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on standard output.")
@click.option("--quiet", is_flag=True, help="Show no progress.")
def resume(run_id: str, as_json: bool, quiet: bool) -> None:
    """Go on with RUN_ID from its journal, exactly where it was."""
    from ledger import CALIBRATION
    from shotwise.errors import CannotRunError
    from shotwise.spec import validate

    home, journal = _open_journal()
    record = journal.run(run_id)
    if record.state == "completed":
        _show_result(home, journal, run_id, as_json=as_json)
        return
    if record.state == "cancelled":
        raise CannotRunError("RUN_ID", run_id, "was cancelled", "run its spec anew")
    if record.kind == CALIBRATION:
        remedy = "the next probe of the device goes on with it; `shotwise cancel` ends it"
        raise CannotRunError("RUN_ID", run_id, "is a probe of a device, not a run", remedy)
    journal.check_free(run_id)
    _drive(validate(json.loads(record.spec_json)), run_id, as_json=as_json, quiet=quiet)


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array, oldest first.")
def runs(as_json: bool) -> None:
    """List all runs, oldest first. A lost one lost its process: `shotwise resume` goes on with it."""
    _, journal = _open_journal()
    rows = [_row(record) | {"state": journal.standing(record)} for record in journal.all_runs()]
    if as_json:
        click.echo(json.dumps(rows))
        return
    from flows.terminal import print_table

    columns = ("run_id", "name", "state", "reason", "energy")
    print_table(columns, [["" if row[c] is None else str(row[c]) for c in columns] for row in rows])


@cli.command()
@click.argument("run_id")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--decisions", is_flag=True, help="Where each batch went, and why.")
def show(run_id: str, as_json: bool, decisions: bool) -> None:
    """Show what RUN_ID is and what it found."""
    home, journal = _open_journal()
    record = journal.run(run_id)
    if decisions:
        _show_decisions(journal, run_id, as_json=as_json)
        return
    if as_json:
        click.echo(json.dumps(_details(journal, record)))
        return
    from flows.terminal import print_table

    details = _details(journal, record)
    spec = details.pop("spec")
    shown = {
        k: v for k, v in details.items() if k not in ("versions", "parameters", "points") and v is not None
    }
    print_table(("", ""), [[k, str(v)] for k, v in shown.items()], title=run_id)
    print_table(("", ""), [[k, json.dumps(v)] for k, v in spec.items()], title="spec")
    if home.plot(run_id).exists():
        click.echo(f"plot: {home.plot(run_id)}")


@cli.command()
@click.argument("run_id")
@click.option("--csv", is_flag=True, default=True, help="As CSV on standard output; the only format.")
def export(run_id: str, csv: bool) -> None:
    """Print the iterations of RUN_ID as a table."""
    _, journal = _open_journal()
    journal.run(run_id)
    from tasks.convergence import iteration_table

    iteration_table(journal.iterations(run_id)).to_csv(sys.stdout, index=False)


@cli.command()
@click.argument("spec", type=click.Path(path_type=Path))
@click.option("--set", "overrides", multiple=True, metavar="a.b=c", help="Override a field of the spec.")
def validate(spec: Path, overrides: tuple[str, ...]) -> None:
    """Check SPEC, the chemistry and the sizes included, and run nothing."""
    from shotwise.spec import load_spec

    loaded = load_spec(spec, overrides)
    from tasks.readiness import check_ready, check_sizes

    prepared = check_ready(loaded)
    if prepared is None:
        click.echo(f"{spec}: good. No circuit will run")
        return
    check_sizes(prepared)
    circuit = prepared.stage().circuit
    click.echo(
        f"{spec}: good. {prepared.problem.n_qubits} qubits, {circuit.n_parameters} parameters, "
        f"{len(prepared.problem.hamiltonian)} Pauli terms in {len(prepared.grouping)} groups"
    )


@cli.command()
def ui() -> None:
    """Serve the Prefect and MLflow UIs on this state folder until Ctrl-C."""
    from flows.ui import serve

    serve(_home())


def _drive(spec: Any, run_id: str | None, *, as_json: bool, quiet: bool) -> None:
    from flows.session import drive
    from flows.terminal import ProgressLine

    home = _home().make()
    line = None if quiet else ProgressLine()
    run_id = drive(home, spec, run_id, line)
    _, journal = _open_journal()
    state = journal.run(run_id).state
    if state == "cancelled":
        click.echo(f"{run_id} was cancelled; what was in flight is settled", err=True)
        sys.exit(EXIT_INTERRUPTED)
    if state == "interrupted":
        click.echo(f"interrupted; the journal is intact. Go on with: shotwise resume {run_id}", err=True)
        sys.exit(EXIT_INTERRUPTED)
    _show_result(home, journal, run_id, as_json=as_json)
    if journal.run(run_id).state == "failed":
        sys.exit(EXIT_FAILED)


def _show_result(home: Home, journal: Journal, run_id: str, *, as_json: bool) -> None:
    details = _details(journal, journal.run(run_id))
    if as_json:
        wanted = {k: v for k, v in details.items() if k not in ("spec", "versions")}
        click.echo(json.dumps(wanted))
        return
    from flows.terminal import print_table
    from shotwise.units import unit_of
    from tasks.result import RunResult, summary_rows

    record = journal.run(run_id)
    if record.result_json and json.loads(record.spec_json).get("scan"):
        from tasks.scan import SCAN_COLUMNS, ScanResult, scan_rows

        curve = ScanResult.from_json(record.result_json)
        print_table((curve.axis, *SCAN_COLUMNS[1:]), scan_rows(curve), title=f"{run_id}: {curve.reason}")
        click.echo(f"curve      {home.curve(run_id)}")
    elif record.result_json:
        rows = summary_rows(RunResult.from_json(record.result_json), unit_of(record.kind))
        print_table(("", ""), rows, title=run_id)
    click.echo(f"details    shotwise show {run_id}")
    click.echo("compare    shotwise ui   (Prefect and MLflow)")
    if home.plot(run_id).exists():
        click.echo(f"plot       {home.plot(run_id)}")


def _show_decisions(journal: Journal, run_id: str, *, as_json: bool) -> None:
    from ledger import decisions_of

    found = [(i, batch, json.loads(text)) for i, batch, _, text in decisions_of(journal.database, run_id)]
    if as_json:
        click.echo(json.dumps([{"iteration": i, "batch": batch, **decision} for i, batch, decision in found]))
        return
    if not found:
        click.echo(f"{run_id} was not routed: its spec names a device that is called directly")
    for iteration, _, decision in found:
        title = f"iteration {iteration}: {', '.join(device for device, _ in decision['route'])}"
        print_decision(decision, title=f"{title} ({decision['policy']})")


def _row(record: RunRecord) -> dict[str, Any]:
    result = json.loads(record.result_json) if record.result_json else {}
    return {
        "run_id": record.run_id,
        "name": record.name,
        "state": record.state,
        "reason": record.reason,
        "energy": result.get("energy"),
    }


def _details(journal: Journal, record: RunRecord) -> dict[str, Any]:
    """Everything about a run as plain data; the result's fields at the top level."""
    result = json.loads(record.result_json) if record.result_json else {}
    flow_run_ids = journal.flow_run_ids(record.run_id)
    return {
        **_row(record),
        **result,
        "state": record.state,
        "reason": record.reason,
        "mlflow_run_id": record.mlflow_run_id,
        "prefect_flow_run_id": flow_run_ids[-1] if flow_run_ids else None,
        "spec": json.loads(record.spec_json),
        "versions": json.loads(record.versions_json),
    }


def _home() -> Home:
    from shotwise.home import Home

    return Home.from_environment()


def _open_journal() -> tuple[Home, Journal]:
    home = _home().make()
    from ledger import Database, Journal

    return home, Journal(Database(home.database_url))


def main() -> None:
    """Entry point: every error of ours is one line on standard error and its own exit code."""
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
    main()
