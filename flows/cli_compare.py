"""The command about results of several runs: compare."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from flows.cli_options import json_option, open_journal

if TYPE_CHECKING:
    from tasks.compare import Comparison, RunView

_RUNS_A_TABLE = 4
_BAR = 12


@click.command()
@click.argument("run_ids", nargs=-1, required=True, metavar="RUN_ID...")
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), help="Write a report with plots.")
@json_option("Print one JSON object.")
def compare(run_ids: tuple[str, ...], html: Path | None, as_json: bool) -> None:
    """Put runs side by side: what differs, what they found, what it took."""
    from tasks.compare import compare as put_side_by_side

    comparison = put_side_by_side(open_journal(), run_ids)
    if html is not None:
        _write(html, comparison)
    if as_json:
        click.echo(json.dumps(_as_json(comparison)))
        return
    for start in range(0, len(run_ids), _RUNS_A_TABLE):
        _print_table(comparison, range(start, min(start + _RUNS_A_TABLE, len(run_ids))))
    _print_spending(comparison)
    if html is not None:
        click.echo(f"report     {html}")


def _write(path: Path, comparison: Comparison) -> None:
    from shotwise.errors import SpecError
    from shotwise.home import Home
    from tasks.report import html_report

    Home.from_environment().keep_plot_cache()
    text = html_report(comparison)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise SpecError(
            "--html", path, (error.strerror or "cannot be written").lower(), "name another"
        ) from None


def _print_table(comparison: Comparison, places: range) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from flows.terminal import open_console
    from ledger import dollars
    from shotwise.words import duration
    from tasks.compare import sparkline
    from tasks.report import bias_text, energy_text, error_text

    runs = [comparison.runs[at] for at in places]
    table = Table(box=SIMPLE_HEAD, header_style="bold")
    table.add_column("")
    for run in runs:
        table.add_column(run.run_id, overflow="fold")

    def row(name: str, cells: list[str], *, mark_best: bool = False) -> None:
        styles = ["bold green" if mark_best and at == comparison.best else "" for at in places]
        table.add_row(
            Text(name, style="dim"), *(Text(c, style=s) for c, s in zip(cells, styles, strict=True))
        )

    row("state", [f"{run.state} ({run.reason})" if run.reason else run.state for run in runs])
    row("energy, 95 %", [energy_text(run) for run in runs], mark_best=True)
    if comparison.biased:
        row("predicted bias", [bias_text(run) for run in runs])
    row("above reference", [error_text(run) for run in runs])
    row("fidelity", ["–" if run.fidelity is None else f"{run.fidelity:.6f}" for run in runs])
    row("convergence", [sparkline(run.energies) + " (CVaR)" * run.tail for run in runs])
    row("iterations", [f"{run.iterations:,}" for run in runs])
    row("shots", [f"{run.shots_total:,}" for run in runs])
    row("cost", [dollars(run.cost_micro_usd) for run in runs])
    row("driven for", [duration(run.duration_s) for run in runs])
    for name, values in comparison.differing.items():
        row(name, [values[at] or "–" for at in places])
    open_console().print(table)
    if not comparison.comparable:
        click.echo("The runs minimise different problems: their energies do not compare.")


def _print_spending(comparison: Comparison) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from flows.terminal import open_console
    from ledger import dollars

    rows = [(run, device) for run in comparison.runs for device in run.devices]
    if not rows:
        return
    most_shots = max(device.shots for _, device in rows) or 1
    most_cost = max(device.cost_micro_usd for _, device in rows) or 1
    table = Table(box=SIMPLE_HEAD, header_style="bold")
    for name in ("run", "device"):
        table.add_column(name, overflow="fold")
    for name in ("jobs", "shots", "", "cost", ""):
        table.add_column(name, justify="left" if not name else "right")
    for run, device in rows:
        table.add_row(
            run.run_id,
            device.device,
            f"{device.jobs:,}",
            f"{device.shots:,}",
            Text(_bar(device.shots / most_shots), style="blue"),
            dollars(device.cost_micro_usd, 4),
            Text(_bar(device.cost_micro_usd / most_cost), style="yellow"),
        )
    open_console().print(table)


def _bar(share: float) -> str:
    """A bar in eighths of a block."""
    eighths = round(share * _BAR * 8)
    return "█" * (eighths // 8) + (" ▏▎▍▌▋▊▉"[eighths % 8] if eighths % 8 else "")


def _as_json(comparison: Comparison) -> dict[str, object]:
    return {
        "comparable": comparison.comparable,
        "best": None if comparison.best is None else comparison.runs[comparison.best].run_id,
        "differing": comparison.differing,
        "runs": [_run_json(run) for run in comparison.runs],
    }


def _run_json(run: RunView) -> dict[str, object]:
    shown = (
        "run_id kind state reason energy energy_std_error predicted_bias reference error fidelity iterations"
    )
    return {
        **{name: getattr(run, name) for name in (*shown.split(), "duration_s")},
        "shots": run.shots_total,
        "cost_usd": run.cost_micro_usd / 1e6,
        "devices": [vars(device) for device in run.devices],
    }


COMMANDS = (compare,)
