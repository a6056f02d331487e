"""Reading `optimizer.options`: every key known, every value in range, or a `SpecError` that says which."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from shotwise.errors import SpecError


@dataclass(frozen=True)
class Option:
    """What one option may be.

    Attributes:
        default: value where the user gives none; a bool or an int restricts the option to that type.
        minimum, maximum: range.
        open_minimum, open_maximum: whether the range excludes its ends.
    """

    default: float | bool | None
    minimum: float = 0.0
    maximum: float = float("inf")
    open_minimum: bool = False
    open_maximum: bool = False

    def contains(self, value: float) -> bool:
        above = value > self.minimum if self.open_minimum else value >= self.minimum
        below = value < self.maximum if self.open_maximum else value <= self.maximum
        return above and below

    @property
    def range(self) -> str:
        low, high = f"{self.minimum:g}", f"{self.maximum:g}"
        if self.maximum == float("inf"):
            return f"above {low}" if self.open_minimum else f"of at least {low}"
        opening, closing = "(" if self.open_minimum else "[", ")" if self.open_maximum else "]"
        return f"in {opening}{low}, {high}{closing}"


def read_options(
    name: str, given: Mapping[str, float | bool], accepted: Mapping[str, Option]
) -> dict[str, float | bool]:
    """The options that were given, checked; integers where the option is one. Defaults are not filled in.

    Args:
        name: the optimizer, for the error line.
        given: `optimizer.options` of the spec.
        accepted: every option that this optimizer has.

    Raises:
        SpecError: an unknown key, a value of the wrong type or out of range.
    """
    return {key: _read(name, key, value, accepted) for key, value in given.items()}


def _read(name: str, key: str, value: float | bool, accepted: Mapping[str, Option]) -> float | bool:
    field = f"optimizer.options.{key}"
    if key not in accepted:
        remedy = f"use one of {', '.join(sorted(accepted))}" if accepted else "remove it: there are none"
        raise SpecError(field, value, f"{name} has no such option", remedy)
    option = accepted[key]
    if isinstance(option.default, bool):
        if not isinstance(value, bool):
            raise SpecError(field, value, "not a yes or no", "give true or false")
        return value
    if isinstance(value, bool):
        raise SpecError(field, value, "not a number", f"give a number {option.range}")
    if isinstance(option.default, int):
        if value != int(value) or not option.contains(value):
            raise SpecError(
                field, value, "not a whole number in range", f"give a whole number {option.range}"
            )
        return int(value)
    if not option.contains(value):
        raise SpecError(field, value, "out of range", f"give a number {option.range}")
    return float(value)
