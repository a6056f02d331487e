"""Starts that lie in the journal: parameters of an earlier run, written into the spec before anything runs.

A spec that is entered holds the numbers themselves, so that a resumed run needs no other run.
"""

from __future__ import annotations

import numpy as np

from ledger import Database, Journal, RunRecord
from problems import interpolate
from shotwise.errors import SpecError
from shotwise.home import Home
from shotwise.spec import AnsatzSpec, QaoaAnsatz, RunSpec
from tasks.run_records import result_fields, spec_fields, spec_of

_RUN = "run:"


def resolve_start(spec: RunSpec, journal: Journal | None = None) -> RunSpec:
    """The spec with the final parameters of the run that `ansatz.start` names; itself where it names none.

    Args:
        journal: where to look; None for the one of this installation.

    Raises:
        SpecError: at ``ansatz.start``: no such run, not at its end, or of another ansatz.
    """
    start = getattr(spec.ansatz, "start", "")
    if not start.startswith(_RUN) or getattr(spec.ansatz, "parameters", None) is not None:
        return spec
    if journal is None:
        journal = Journal(Database(Home.from_environment().asked_url))
    try:
        record = journal.run(start.removeprefix(_RUN))
    except SpecError:
        raise SpecError("ansatz.start", start, "no such run", "list the runs with `shotwise runs`") from None
    found = result_fields(record).get("parameters")
    if not found:
        raise SpecError("ansatz.start", start, *_why_without(record))
    parameters = transfer_parameters(spec_of(record).ansatz, found, spec.ansatz)
    return spec.model_copy(
        update={"ansatz": spec.ansatz.model_copy(update={"parameters": tuple(parameters.tolist())})}
    )


def _why_without(record: RunRecord) -> tuple[str, str]:
    """(why a run has no parameters to start from, the remedy)."""
    told = spec_fields(record)
    if told.get("scan"):
        return "a scan has no parameters of its own", f"name one of its points, as in {record.run_id}.000"
    if told.get("ansatz", {}).get("kind") == "rqaoa":
        return "recursive QAOA has no parameters to start from", "name a run with ansatz qaoa"
    if record.state.has_ended:
        return "it ended without final parameters", "name another run"
    return "it has no final parameters", "let it come to its end first"


def transfer_parameters(source: AnsatzSpec, parameters: list[float], target: AnsatzSpec) -> np.ndarray:
    """Parameters of one ansatz as a start of another of its kind; QAOA's are interpolated to more layers.

    Raises:
        SpecError: at ``ansatz.start``: the kinds differ, or the source is deeper.
    """
    if source.kind != target.kind:
        raise SpecError(
            "ansatz.start", source.kind, f"the ansatz is {target.kind}", "start from its own kind"
        )
    if not isinstance(source, QaoaAnsatz) or not isinstance(target, QaoaAnsatz):
        return np.array(parameters)
    if source.layers > target.layers:
        raise SpecError(
            "ansatz.start",
            f"{source.layers} layers",
            f"more than the {target.layers} of this run",
            f"use at least {source.layers} layers",
        )
    return interpolate(np.array(parameters), target.layers)
