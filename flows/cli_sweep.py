"""The command `shotwise sweep`: one spec over a grid of its fields, several runs side by side."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import click

from flows.cli_options import json_option, open_database, spec_argument
from flows.exit_codes import EXIT_FAILED
from shotwise.words import quantity

if TYPE_CHECKING:
    from flows.sweep import Runner


@click.command()
@spec_argument
@click.option("--over", "varied", multiple=True, required=True, metavar="a.b=c1,c2", help="Vary a field.")
@click.option("--set", "fixed", multiple=True, metavar="a.b=c", help="Override a field of every point.")
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1, 1024), help="Runs at a time.")
@click.option(
    "--runner", default="processes", show_default=True, type=click.Choice(["processes", "threads", "dask"])
)
@click.option(
    "--id", "sweep_id", metavar="ID", help="Name of the sweep; by default it follows from the points."
)
@json_option("Print a JSON array, one object a point.")
def sweep(
    spec: Path,
    varied: tuple[str, ...],
    fixed: tuple[str, ...],
    workers: int,
    runner: Runner,
    sweep_id: str | None,
    as_json: bool,
) -> None:
    """Run SPEC at every point of a grid. The same command again goes on with what is not finished."""
    from ledger import RunState
    from tasks.sweep import grid, sweep_name

    points = grid(spec, fixed, varied)
    sweep_id = sweep_id or sweep_name(points)
    click.echo(f"{sweep_id}: {quantity(len(points), 'point')} on {quantity(workers, 'worker')}", err=True)
    found = {row["run_id"]: row for row in _drive(sweep_id, points, workers, runner)}
    rows = [{"over": list(point.overrides), **found[point.run_id(sweep_id)]} for point in points]
    if as_json:
        click.echo(json.dumps(rows))
    else:
        from flows.terminal import print_table
        from tasks.interval import told

        shown = [
            [
                ", ".join(r["over"]),
                r["run_id"],
                r["state"],
                r["error"] or told(r["energy"], r["energy_std_error"], r["unit"]),
            ]
            for r in rows
        ]
        print_table(("point", "run_id", "state", "energy, 95 %"), shown, title=sweep_id)
    if any(row["state"] is not RunState.COMPLETED for row in rows):
        sys.exit(EXIT_FAILED)


def _drive(sweep_id: str, points: Any, workers: int, runner: Runner) -> list[dict[str, Any]]:
    from flows.session import await_records, prefect_server, when_ready
    from flows.sweep_processes import worker_processes
    from ledger import Journal
    from shotwise.home import Home
    from tasks.sweep import enter_runs, finished_rows
    from tasks.telemetry import check_wanted
    from tasks.tracker import Tracker

    check_wanted()
    journal = Journal(open_database(make=True))
    rows = finished_rows(journal, sweep_id, points)
    if rows is not None:
        return rows
    home = Home.from_environment()
    with ExitStack() as stack:
        server = stack.enter_context(prefect_server(home))
        stack.enter_context(Tracker.of(home).lent())
        if runner == "processes":
            modules = ["flows.sweep_ancestor", "flows.sweep"]
            modules += sorted({f"flows.{point.spec.flow}" for point in points})
            if any(point.spec.problem.kind == "molecule" for point in points):
                modules.append("pyscf.scf")  # what building one imports, for a second
            stack.enter_context(worker_processes(min(workers, len(points)), modules))
        from flows.sweep import RECORDS, open_runner
        from flows.sweep import sweep as sweep_flow

        run_ids = enter_runs(journal, sweep_id, points)
        chosen = open_runner(runner, workers)
        with when_ready(server):
            state = sweep_flow.with_options(task_runner=chosen)(sweep_id, run_ids, return_state=True)
        flow_run_id = state.state_details.flow_run_id
        assert flow_run_id is not None, "a flow run has an id"
        await_records(flow_run_id)
        rows = state.result()
        for row in rows:
            for point_id, task_run_ids in row.pop(RECORDS, {}).items():
                await_records(UUID(point_id), map(UUID, task_run_ids))
        return rows


COMMANDS = (sweep,)
