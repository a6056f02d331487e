"""The flow `reconcile`: ledger, journal and the providers' bills against each other."""

from __future__ import annotations

from typing import Any

from prefect import flow, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from ledger import Database
from shotwise.home import Home
from tasks.fleet import open_fleet
from tasks.flow_runs import deployment_label
from tasks.reconcile import Discrepancy, count_told, reconcile_and_record


@task(name="compare-records", cache_policy=NO_CACHE, persist_result=False)
def compare_records(correct: bool) -> list[Discrepancy]:
    """Every difference between the three records, and every open dispute."""
    database = Database(Home.from_environment().database_url)
    with open_fleet() as fleet:
        return reconcile_and_record(database, fleet.provider, correct=correct)


@flow(name="reconcile", flow_run_name=deployment_label, persist_result=False)
def reconcile_ledger(correct: bool = True) -> list[dict[str, Any]]:
    """Report every difference and open dispute; `correct` enters late corrections of bills in the ledger."""
    found = compare_records(correct)
    rows = [
        f"| {d.kind} | {d.device} | {d.journal_micro_usd} | {d.other_micro_usd} | {d.told} |" for d in found
    ]
    table = "\n".join(
        ["| what | device | ours (micro-USD) | theirs | note |", "|---|---|---|---|---|", *rows]
    )
    create_markdown_artifact(table, key="shotwise-reconciliation", description=count_told(found))
    return [{**vars(d), "kind": d.kind.value} for d in found]
