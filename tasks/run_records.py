"""What the journal keeps of a run as JSON, read back: its spec, its result, and the line that tables show.

Rows of every version are read. Only what is to be run or shown whole becomes a `RunSpec` or a result: the
plain fields stay readable where a version no longer takes the spec, and ask for no JAX.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ledger import Journal, RunRecord
from shotwise.arrays import unpack
from shotwise.units import unit_of
from shotwise.version_compatibility import known_fields
from tasks.failure import reason_as_told

if TYPE_CHECKING:
    from shotwise.spec import RunSpec


@dataclass(frozen=True)
class Headline:
    """What one line says of a result; of a scan, its lowest point's. See `tasks.result.RunResult`."""

    energy: float | None = None
    energy_std_error: float | None = None
    predicted_bias: float | None = None
    reference_energy: float | None = None
    reference_method: str | None = None
    fidelity: float | None = None


def spec_of(record: RunRecord) -> RunSpec:
    """What a run is.

    Raises:
        SpecError: it was entered by a version whose specs are no longer taken.
    """
    from shotwise.spec import validate

    return validate(spec_fields(record))


def spec_fields(record: RunRecord) -> dict[str, Any]:
    """A run's spec as it was entered, whether or not it is still taken; a probe's is its device and seed."""
    return json.loads(record.spec_json)


def minimises_tail(spec: dict[str, Any]) -> bool:
    """Whether a run's iterations tell of a CVaR, and not of the energy."""
    return spec.get("objective", {}).get("kind") == "cvar"


def account_of(record: RunRecord, run_id: str) -> str:
    """The account of a run, or of a point of it where it is a scan."""
    payer = spec_fields(record).get("account") or {}
    return f"{payer.get('tenant', 'default')}/{payer.get('project', 'default')}/{run_id}"


def result_fields(record: RunRecord) -> dict[str, Any]:
    """A run's result as it was entered, empty while there is none."""
    return json.loads(record.result_json) if record.result_json else {}


def headline(record: RunRecord) -> Headline | None:
    """What a table says of a run's result, None while there is none."""
    found = result_fields(record)
    return Headline(**known_fields(Headline, found)) if found else None


def had_pilot(journal: Journal, run_id: str) -> bool:
    """Whether the first record among a run's iterations is its pilot's, which nobody counts as one."""
    checkpoint = journal.checkpoint(run_id)
    if checkpoint is None:
        return False
    try:
        header = json.loads(str(unpack(checkpoint)["header"]))
    except (ValueError, KeyError):  # of a scan or a recursion, which have no pilot
        return False
    return header.get("pilot_shots", 0) > 0


def row_of(record: RunRecord) -> dict[str, Any]:
    """A run in a list of runs."""
    found = headline(record)
    return {
        "run_id": record.run_id,
        "name": record.name,
        "state": record.state,
        "reason": reason_as_told(record.reason),
        "energy": found.energy if found else None,
        "energy_std_error": found.energy_std_error if found else None,
        "unit": unit_of(record.kind),
    }
