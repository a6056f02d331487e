"""The command about one run, show; and what is printed when a run has ended."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from flows.cli_options import json_option, open_journal
from flows.cli_plan import print_decision

if TYPE_CHECKING:
    from ledger import Journal, RunRecord
    from shotwise.home import Home

_LIST_CHARACTERS_MAX = 200
_IDS = ("name", "parameters_sha256", "mlflow_run_id", "prefect_flow_run_id")


@click.command()
@click.argument("run_id")
@json_option("Print one JSON object.")
@click.option("--decisions", is_flag=True, help="Where each batch went, and why.")
def show(run_id: str, as_json: bool, decisions: bool) -> None:
    """Show what RUN_ID is and what it found."""
    from shotwise.home import Home

    home, journal = Home.from_environment(), open_journal()
    record = journal.run(run_id)
    if decisions:
        _show_decisions(journal, record, as_json=as_json)
        return
    details = _details(journal, record)
    if as_json:
        click.echo(json.dumps(details))
        return
    from flows.terminal import print_table

    if record.result_json:
        _print_found(home, journal, record)
    else:
        reason = details["reason"]
        state = f"{record.state} ({reason})" if reason else record.state
        print_table(("", ""), [("state", state)], title=run_id)
    print_table(("", ""), [(name, details[name]) for name in _IDS if details.get(name)], title="ids")
    print_table(("", ""), _spec_rows(_meant(details["spec"])), title="spec")
    if home.plot(run_id).exists():
        click.echo(f"plot: {home.plot(run_id)}")


def show_result(home: Home, journal: Journal, run_id: str, *, as_json: bool) -> None:
    """Print what a run that has ended found, and where to look next."""
    record = journal.run(run_id)
    if as_json:
        details = _details(journal, record)
        click.echo(json.dumps({k: v for k, v in details.items() if k not in ("spec", "versions")}))
        return
    if record.result_json:
        _print_found(home, journal, record)
    click.echo(f"details    shotwise show {run_id}")
    click.echo(f"compare    shotwise compare {run_id} RUN")
    click.echo("watch      shotwise ui   (Prefect and MLflow)")
    if home.plot(run_id).exists():
        click.echo(f"plot       {home.plot(run_id)}")


def _print_found(home: Home, journal: Journal, record: RunRecord) -> None:
    from flows.terminal import print_table
    from shotwise.units import unit_of
    from tasks.cost_now import cost_now
    from tasks.run_records import spec_fields
    from tasks.scan import SCAN_COLUMNS, ScanResult, result_of, scan_rows, scan_totals
    from tasks.summary import summary_rows

    found = result_of(record)
    assert found is not None, "only a run that has ended has found anything"
    if isinstance(found, ScanResult):
        title = f"{record.run_id}: {found.reason}"
        print_table((found.axis, *SCAN_COLUMNS[1:]), scan_rows(found), title=title)
        click.echo(f"in all     {scan_totals(found)}")
        click.echo(f"curve      {home.curve(record.run_id)}")
    else:
        recursive = spec_fields(record)["ansatz"]["kind"] == "rqaoa"
        rows = summary_rows(found, unit_of(record.kind), recursive=recursive)
        print_table(("", ""), rows, title=record.run_id)
    if now := cost_now(journal.database, record):
        click.echo(f"ledger now: {now.told}")


def _meant(spec: dict[str, Any]) -> dict[str, Any]:
    """A spec less the default device where a policy chooses among others: nothing runs on it."""
    execution = spec["execution"]
    if not execution.get("policy"):
        return spec
    return {**spec, "execution": {name: value for name, value in execution.items() if name != "device"}}


def _spec_rows(section: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """The spec by dotted path, as `--set` takes it; what is not set is left out, and so is a long list."""
    rows: list[tuple[str, str]] = []
    for name, value in section.items():
        if isinstance(value, dict):
            rows += _spec_rows(value, f"{prefix}{name}.")
        elif value is not None:
            text = value if isinstance(value, str) else json.dumps(value)
            if isinstance(value, list) and len(text) > _LIST_CHARACTERS_MAX:
                text = f"{len(value):,} entries; --json prints them"
            rows.append((f"{prefix}{name}", text))
    return rows


def _details(journal: Journal, record: RunRecord) -> dict[str, Any]:
    """Everything about a run as plain data; the result's fields at the top level."""
    from tasks.cost_now import cost_now
    from tasks.run_records import result_fields, row_of, spec_fields

    now = cost_now(journal.database, record)
    flow_run_ids = journal.flow_run_ids(record.run_id)
    row = row_of(record)
    return {
        **row,
        **result_fields(record),
        **{name: row[name] for name in ("state", "reason")},
        "ledger_now": None if now is None else asdict(now),
        "mlflow_run_id": record.mlflow_run_id,
        "prefect_flow_run_id": flow_run_ids[-1] if flow_run_ids else None,
        "spec": spec_fields(record),
        "versions": json.loads(record.versions_json),
    }


def _show_decisions(journal: Journal, record: RunRecord, *, as_json: bool) -> None:
    from backends.dispatch import Decision
    from ledger import decisions_of

    rows = decisions_of(journal.database, record.run_id)
    found = [(i, batch, Decision.from_json(text)) for i, batch, _, text in rows]
    if as_json:
        click.echo(json.dumps([{"iteration": i, "batch": batch, **asdict(each)} for i, batch, each in found]))
        return
    if not found:
        click.echo(f"{record.run_id} was not routed: {_why_unrouted(record)}")
    for iteration, _, decision in found:
        where = ", ".join(decision.devices)
        print_decision(decision, title=f"iteration {iteration}: {where} ({decision.policy})")


def _why_unrouted(record: RunRecord) -> str:
    from ledger import CALIBRATION
    from tasks.run_records import spec_fields

    told = spec_fields(record)
    if record.kind == CALIBRATION:
        return f"it is a probe of {told['device']}"
    if told.get("scan"):
        return f"its points are runs of their own, as {record.run_id}.000"
    if told["ansatz"]["kind"] == "rqaoa":
        return "recursive QAOA runs no circuits on devices"
    execution = told["execution"]
    if execution["mode"] == "exact" or not (execution.get("policy") or _is_bought(execution["device"])):
        return "its spec names a device that is called directly"
    return "it has bought nothing yet" if not record.state.has_ended else "it bought nothing"


def _is_bought(device: str) -> bool:
    from backends import DEVICE_NAMES

    return device not in DEVICE_NAMES


COMMANDS = (show,)
