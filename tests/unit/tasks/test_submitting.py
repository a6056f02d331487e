"""What a person sees of the team's runs."""

import pytest

from tasks.submitting import RunStatus


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
