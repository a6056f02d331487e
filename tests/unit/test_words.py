"""Text for people: numbers with their nouns, values as they were written."""

from __future__ import annotations

import pytest

from shotwise.errors import UNSHOWN, SpecError, display_text
from shotwise.words import quantity


def test_a_number_takes_the_noun_that_it_needs() -> None:
    assert quantity(1, "qubit") == "1 qubit"
    assert quantity(0, "qubit") == "0 qubits"
    assert quantity(12_000, "shot") == "12,000 shots"
    assert quantity(2, "ansatz", "ansaetze") == "2 ansaetze"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        ("zn", "'zn'"),
        (("zne", 3), "[zne, 3]"),
        ([[0, 1], "a\x00"], "[[0, 1], a?]"),
        ("x" * 100, f"'{'x' * 76}..."),
    ],
)
def test_a_value_is_shown_as_yaml_has_it(value: object, text: str) -> None:
    assert display_text(value) == text


def test_a_value_that_says_nothing_is_left_out() -> None:
    assert str(SpecError("seed", UNSHOWN, "missing", "add it")) == "seed: missing; add it"
