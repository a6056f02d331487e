"""What can go wrong, as a tree that reads as documentation.

Every error of the user's making is one line: the field, the value found, and the remedy.
`exit_code` is what the command line returns.

    ShotwiseError
    ├── SpecError            2  the spec says something that cannot be meant
    ├── CannotRunError       3  a good spec that cannot be run here: too large, no device, no budget
    │   ├── RunBusyError     3  another process drives this run
    │   ├── RunEndedError    3  the run has ended; nothing drives it any more
    │   ├── NoRoomError      3  a budget has no room for a step and the final evaluation
    │   └── UnreachableError 3  a device did not answer; it may, later
    └── RunFailedError       4  the run started and failed
        └── LeaseLostError   4  another process took this run over; this one must stop writing
"""

from __future__ import annotations

from enum import Enum

_LENGTH_MAX = 80


class Unshown(Enum):
    """Stands for a value that an error line leaves out: it is a whole section, or there is none."""

    UNSHOWN = "unshown"


UNSHOWN = Unshown.UNSHOWN


def display_text(value: object) -> str:
    """A value as it appears in an error line: as YAML has it, one line, printable, short."""
    text = repr(value) if isinstance(value, str) else _as_yaml(value)
    text = "".join(c if c.isprintable() else "?" for c in text)
    return text if len(text) <= _LENGTH_MAX else text[: _LENGTH_MAX - 3] + "..."


def _as_yaml(value: object) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_as_yaml, value[:_LENGTH_MAX]))}]"
    return str(value)


def _error_line(field: str, value: object, problem: str, remedy: str) -> str:
    found = "" if value is UNSHOWN else f" (got {display_text(value)})"
    return f"{field}: {problem}{found}; {remedy}"


class ShotwiseError(Exception):
    """Base of every error that Shotwise raises on purpose."""

    exit_code = 4


class SpecError(ShotwiseError):
    """A spec field holds something that cannot be meant.

    Args:
        field: dotted path of the field, as the user wrote it: ``problem.geometry``.
        value: what was found there; `UNSHOWN` leaves it out of the line.
        remedy: what to write instead, as an imperative clause.
        problem: what is wrong with it, as a short clause.
    """

    exit_code = 2

    def __init__(self, field: str, value: object, problem: str, remedy: str) -> None:
        self.field, self.value, self.problem, self.remedy = field, value, problem, remedy
        super().__init__(_error_line(field, value, problem, remedy))


class CannotRunError(ShotwiseError):
    """A good spec that cannot be run here: too large, no device for it, or no budget."""

    exit_code = 3

    def __init__(self, field: str, value: object, problem: str, remedy: str) -> None:
        self.field, self.value, self.problem, self.remedy = field, value, problem, remedy
        super().__init__(_error_line(field, value, problem, remedy))

    @property
    def reason(self) -> str:
        """Problem and remedy, to be told of a device that is already named."""
        text = f"{self.problem}; {self.remedy}"
        return text if self.field == "execution.device" else f"{self.field}: {text}"


class UnreachableError(CannotRunError):
    """What could run it gives no usable answer now, and may give one later."""


class NoRoomError(CannotRunError):
    """A budget has no room for the least that it would take."""


class RunBusyError(CannotRunError):
    """Another live process holds the lease of this run."""


class RunEndedError(CannotRunError):
    """The run came to its end; nothing of it can be driven any more."""


class RunFailedError(ShotwiseError):
    """The run started and failed; what was committed before stays."""


class LeaseLostError(RunFailedError):
    """The run was taken over by another driver, so this one's writes are refused."""
