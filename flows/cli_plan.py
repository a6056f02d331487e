"""The command that says what a spec would do and cost: plan; and decisions as tables."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from flows.cli_options import json_option, set_option, spec_argument
from flows.exit_codes import EXIT_CANNOT_RUN

if TYPE_CHECKING:
    from backends.dispatch import Decision, ScoredCandidate
    from tasks.planner import RunPlan


@click.command()
@spec_argument
@set_option
@json_option("Print one JSON object.")
def plan(spec: Path, overrides: tuple[str, ...], as_json: bool) -> None:
    """Say what SPEC would do and cost, without running it. Exit code 3 where nothing can run it."""
    from shotwise.spec import load_spec

    loaded = load_spec(spec, overrides)
    from tasks.readiness import check_ready

    prepared = check_ready(loaded)
    if prepared is None or not prepared.sampled:
        click.echo(json.dumps({"shots": 0, "cost_usd_max": 0.0}) if as_json else "exact: no shots, no cost")
        return
    from ledger import Database, Ledger
    from shotwise.home import Home
    from tasks.planner import plan_run
    from tasks.routing import excluded_devices

    database = Database(Home.from_environment().asked_url)
    planned = plan_run(
        prepared,
        ledger=Ledger(database),
        without=excluded_devices(prepared, database),
        points=len(loaded.scan.values) if loaded.scan else 1,
    )
    click.echo(json.dumps(_plan_json(planned))) if as_json else _print_plan(planned)
    if planned.refusal:
        sys.exit(EXIT_CANNOT_RUN)


def _plan_json(planned: RunPlan) -> dict:
    return {
        **asdict(planned),
        "cost_usd_max": _usd(planned.worst_case_micro_usd),
        "shots_max": planned.worst_case_shots,
        "cost_usd_expected": _usd(planned.expected_micro_usd),
        "shots_expected": planned.expected_shots,
    }


def _usd(micro_usd: int | None) -> float | None:
    return None if micro_usd is None else micro_usd / 1e6


def _groups(planned: RunPlan) -> str:
    apart = planned.final_groups != planned.groups
    return f"{planned.groups}, at the end {planned.final_groups}" if apart else str(planned.groups)


def _print_plan(planned: RunPlan) -> None:
    from flows.terminal import print_table
    from ledger import dollars
    from shotwise.words import duration

    affordable = planned.iterations_affordable
    most = "about" if planned.estimated else "at most"
    rows = [
        ("qubits, parameters", f"{planned.n_qubits}, {planned.parameters}"),
        ("measurement groups", _groups(planned)),
        (
            "the first iteration" if planned.adaptive else "one iteration",
            f"{planned.energies} energies, {planned.circuits} circuits, {planned.shots:,} shots",
        ),
        *([("a pilot before it", f"{planned.pilot_shots:,} shots")] if planned.pilot_shots else []),
        (
            "the final evaluation",
            f"{planned.final_shots:,} shots, standard error about {planned.std_error:.1e} by sampling alone",
        ),
        *([("perhaps a look before it", f"{planned.look_shots:,} shots")] if planned.look_shots else []),
        *planned.method.items(),
    ]
    prices = [
        (f"one iteration costs {most}", dollars(planned.iteration_micro_usd)),
        (f"the final evaluation {most}", dollars(planned.final_micro_usd)),
        ("one iteration takes about", duration(planned.seconds)),
        *([("one point of the scan", _whole_point(planned))] if planned.points > 1 else []),
        ("the whole run" if planned.estimated else "worst case of the whole run", _whole_run(planned)),
        ("the budget allows", "no limit" if affordable is None else f"{affordable} iterations"),
    ]
    if planned.mitigation:
        prices.append(("mitigation", planned.mitigation))
        most_usd = dollars(planned.calibration_micro_usd)
        prices.append(("a readout calibration at most", f"{planned.calibration_shots:,} shots, {most_usd}"))
    if planned.decision is not None or planned.refusal is None:  # else no device said a price
        rows += prices
    if planned.refusal:
        rows.append(("cannot run", planned.refusal))
    print_table(("", ""), rows)
    if planned.decision is not None:
        print_decision(planned.decision, title=f"every iteration, policy {planned.decision.policy}")
    if planned.final_decision is not None:
        at_end = planned.final_decision
        print_decision(at_end, title=f"the final evaluation, policy {at_end.policy}")


def _whole_run(planned: RunPlan) -> str:
    """What is known of it, and where that is an estimate, by what it is bounded."""
    each = "" if planned.points == 1 else f"{planned.points} points, each as the first: "
    if planned.adaptive:
        guess = f"about {planned.points * planned.optimization_shots:,} shots to the precision asked for"
        return f"{each}{guess}; the optimizer chooses, only the budget bounds them"
    iterations = planned.points * planned.iterations_max
    whole = _amount(iterations, planned.expected_shots, planned.expected_micro_usd)
    if not planned.estimated:
        return whole
    why = "points differ" if planned.points > 1 else "measured variances will change the shots"
    return f"{each}about {whole}; {why}, only the budget bounds them"


def _whole_point(planned: RunPlan) -> str:
    """Of a scan."""
    if planned.adaptive:
        return f"about {planned.optimization_shots:,} shots to the precision asked for"
    about = "about " if planned.pilot_shots else ""
    return about + _amount(planned.iterations_max, planned.point_shots, planned.point_micro_usd)


def _amount(iterations: int, shots: int, micro_usd: int | None) -> str:
    from ledger import dollars

    return f"{iterations} iterations, {shots:,} shots, {dollars(micro_usd or 0)}"


def print_decision(decision: Decision, *, title: str) -> None:
    """Every candidate of a decision, best first, with its predictions and why it won or lost."""
    from flows.terminal import print_table

    print_table(
        ("device", "cost", "time", "error", "success", "verdict"),
        [_candidate_row(scored) for scored in decision.candidates],
        title=title,
    )


def _candidate_row(scored: ScoredCandidate) -> tuple[str, ...]:
    """A device that was refused before anything was predicted of it has no figures."""
    from ledger import dollars
    from shotwise.words import duration

    candidate = scored.candidate
    if scored.score is None and not candidate.std_error:
        return (candidate.device, "", "", "", "", scored.reason)
    return (
        candidate.device,
        dollars(candidate.cost_micro_usd, 4),
        duration(candidate.time_s),
        "unknown" if candidate.uncalibrated else f"{candidate.error:.1e}",
        "unknown" if candidate.uncalibrated else f"{candidate.success:.3f}",
        scored.reason,
    )


COMMANDS = (plan,)
