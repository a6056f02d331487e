"""What somebody paused in Prefect's UI stays paused: `prefect deploy` alone would set it going again.

It writes every deployment as not paused, and makes the deployment's schedules anew, active.
"""

from __future__ import annotations

import base64
import json
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

from shotwise.errors import RunFailedError

_ASK_S_MAX = 30.0
_CLIENT = "shotwise-up"


def with_pauses(declared: Mapping[str, Any], known: Mapping[str, Any] | None) -> dict[str, Any]:
    """A deployment of `prefect.yaml` as it is to be deployed.

    Args:
        known: the same deployment as Prefect's API tells it, None where the server has none.
    """
    deployed = dict(declared)
    if known is None:
        return deployed
    if known["paused"]:
        deployed["paused"] = True
    if schedules := declared.get("schedules"):
        deployed["schedules"] = [
            {**schedule, "active": False} if _is_inactive(schedule, known["schedules"]) else schedule
            for schedule in schedules
        ]
    return deployed


def in_words(deployments: Sequence[Mapping[str, Any]], flows: Mapping[str, str]) -> list[str]:
    """Names of deployments, as Prefect's API tells them, that are paused as a whole or in part.

    Args:
        flows: names by id.
    """
    told = []
    for deployment in deployments:
        name = f"{flows.get(deployment['flow_id'], '?')}/{deployment['name']}"
        off = [schedule for schedule in deployment["schedules"] if not schedule["active"]]
        if deployment["paused"] or (off and len(off) == len(deployment["schedules"])):
            told.append(name)
        elif off:
            told.append(f"{name} ({', '.join(_key(s, s['schedule']) for s in off)})")
    return sorted(told)


def paused_deployments(api_url: str, credentials: str | None) -> list[str]:
    """Those of a server that asks for CSRF tokens, in words.

    Without Prefect's client, whose import takes longer than all else of an `up` that has nothing to do.

    Raises:
        RunFailedError: the server does not say.
    """
    headers = {"Content-Type": "application/json", "Prefect-Csrf-Client": f"{_CLIENT}-{uuid4()}"}
    if credentials:
        headers["Authorization"] = f"Basic {base64.b64encode(credentials.encode()).decode()}"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def ask(path: str, body: bytes | None = None) -> Any:
        with opener.open(
            urllib.request.Request(f"{api_url}/{path}", body, headers), timeout=_ASK_S_MAX
        ) as reply:
            return json.load(reply)

    try:
        headers["Prefect-Csrf-Token"] = ask(f"csrf-token?client={headers['Prefect-Csrf-Client']}")["token"]
        flows = {flow["id"]: flow["name"] for flow in ask("flows/filter", b"{}")}
        return in_words(ask("deployments/filter", b"{}"), flows)
    except (OSError, ValueError) as error:
        raise RunFailedError(
            f"Prefect does not say at {api_url} which deployments are paused: {error}"
        ) from None


def _is_inactive(schedule: Mapping[str, Any], known: Sequence[Mapping[str, Any]]) -> bool:
    """Whether somebody switched a schedule off, or all that there were: it may have other times now."""
    if known and not any(other["active"] for other in known):
        return True
    key = _key(schedule, schedule)
    return any(not other["active"] and _key(other, other["schedule"]) == key for other in known)


def _key(schedule: Mapping[str, Any], times: Mapping[str, Any]) -> str:
    """What a schedule is told apart by: its slug, or its times where it has none."""
    return str(schedule.get("slug") or times.get("cron") or times.get("rrule") or times.get("interval"))
