"""Text for people: numbers with their nouns, times, values as they were written."""

from __future__ import annotations

import pytest

from shotwise.errors import UNSHOWN, SpecError, display_text
from shotwise.words import duration, quantity


def test_a_number_takes_the_noun_that_it_needs() -> None:
    assert quantity(1, "qubit") == "1 qubit"
    assert quantity(0, "qubit") == "0 qubits"
    assert quantity(12_000, "shot") == "12,000 shots"
    assert quantity(2, "ansatz", "ansaetze") == "2 ansaetze"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0 s"),
        (0.26, "0.3 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (185, "3 min 5 s"),
        (3599.7, "1 h"),
        (11_091, "3 h 5 min"),
        (24 * 3600 - 20, "1 day"),
        (200_000, "2 days 8 h"),
        (-90, "-1 min 30 s"),
        (float("inf"), "no known time"),
    ],
)
def test_a_time_is_told_in_two_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text


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
