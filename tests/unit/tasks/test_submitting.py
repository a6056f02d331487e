"""What a person sees of the team's runs, and what is not sent at all."""

import re
from pathlib import Path

import pytest

from ledger import Journal, Ledger, Submissions
from shotwise.errors import NoRoomError
from shotwise.home import Home
from shotwise.spec import RunSpec, validate
from tasks.submitting import RunStatus, Submitter, check_room


@pytest.mark.parametrize(
    ("state", "cancelled", "shown"),
    [
        ("running", False, "running"),
        ("running", True, "cancelling"),
        ("lost", True, "cancelling"),
        ("lost", False, "lost"),
        ("cancelled", True, "cancelled"),
        ("completed", True, "completed"),
        ("failed", True, "failed"),
    ],
)
def test_a_run_that_was_asked_to_end_is_cancelling_until_it_has(
    state: str, cancelled: bool, shown: str
) -> None:
    assert (
        RunStatus("r", state, cancelled, "default", "vqe/on-demand", 0, 0, None, None).display_state == shown
    )


def sent(**execution: object) -> RunSpec:
    return validate(
        {
            "problem": {"kind": "molecule", "geometry": "H 0 0 0; H 0 0 0.7414"},
            "optimizer": {"name": "spsa"},
            "execution": {"mode": "shots", "shots": 300, **execution},
            "account": {"tenant": "lab"},
        }
    )


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        (
            {"micro_usd": 10},
            r"budget of lab: no device takes one iteration .*\(got '\$0\.000010 left'\); raise it",
        ),
        ({"shots": 599}, r"budget of lab: .* take [\d,]+ shots \(got '599 shots left'\); raise it"),
        ({}, r"budget of lab: .* \(got '0 shots left'\)"),
    ],
)
def test_a_run_that_a_limit_leaves_no_room_for_is_not_sent(
    tmp_path: Path, journal: Journal, limits: dict[str, int], said: str
) -> None:
    ledger = Ledger(journal.database)
    ledger.open_account("lab")
    ledger.set_limit("lab", **limits) if limits else ledger.freeze("lab")
    submitter = Submitter(Home(tmp_path))
    submitter._journal, submitter._submissions = journal, Submissions(journal.database)
    with pytest.raises(NoRoomError) as refused:
        submitter.submit(sent(device="sim-manila"), "default")
    assert re.match(said, str(refused.value))
    assert journal.all_runs() == []
    ledger.set_limit("lab", micro_usd=10**9, shots=10**9)
    check_room(sent(device="sim-manila"), journal.database)


def test_what_only_a_worker_may_have_is_left_to_it(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("QISKIT_IBM_TOKEN", raising=False)
    ledger = Ledger(journal.database)
    ledger.open_account("lab")
    ledger.set_limit("lab", micro_usd=10**9)
    check_room(sent(device="ibm-fez"), journal.database)
