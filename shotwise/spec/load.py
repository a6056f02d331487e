"""From a YAML or JSON file to a `RunSpec`, treating every byte as hostile.

The text is bounded, then walked as events before anything is built: no tags, no anchors or aliases, no
duplicate keys, bounded depth. Only then is it constructed, from plain scalars, maps and lists.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from shotwise.complaints import complaint
from shotwise.errors import UNSHOWN, SpecError
from shotwise.spec.effects import check_effects
from shotwise.spec.files import read_bounded
from shotwise.spec.run import RunSpec

SPEC_BYTES_MAX = 1024 * 1024
DEPTH_MAX = 16


class _PlainLoader(yaml.SafeLoader):
    """SafeLoader that reads 1e-7 as a number (YAML 1.2) and leaves dates as text."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for at, key in enumerate(keys):
            if not isinstance(key, str):
                raise SpecError("spec", key, "a key that is not text", "use plain words as keys")
            if key in keys[:at]:
                line = node.value[at][0].start_mark.line + 1
                raise SpecError(key, UNSHOWN, f"the key appears twice, again on line {line}", "keep one")
        return super().construct_mapping(node, deep)


_PlainLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_PlainLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def load_spec(path: Path, overrides: Sequence[str] = ()) -> RunSpec:
    """Read, override and validate a spec; files that it names are read into it.

    Args:
        path: a YAML or JSON file.
        overrides: "a.b=c" each, applied in order; c is read as YAML.

    Raises:
        SpecError: with the field, the value and the remedy of the first thing that is wrong.
    """
    text = read_bounded(path, field="spec", shown_as=str(path), bytes_max=SPEC_BYTES_MAX)
    raw = parse(text)
    for assignment in overrides:
        override(raw, assignment)
    spec = validate(raw)
    check_effects(spec)
    if spec.problem.file is None:
        return spec
    inlined = spec.inline(path.parent)
    return validate(json.loads(inlined.canonical_json()))  # what a file says has the same limits


def validate(raw: object) -> RunSpec:
    """Validate plain data as a `RunSpec`.

    Raises:
        SpecError: for the first field that is wrong.
    """
    _check_finite(raw)
    try:
        return RunSpec.model_validate_json(json.dumps(_with_ansatz(raw)))
    except ValidationError as error:
        field, value, problem, remedy = complaint(error, RunSpec, "see docs/spec.md", _UNIONS)
        raise SpecError(field or "spec", value, problem, remedy) from None
    except (TypeError, ValueError, RecursionError):
        raise SpecError(
            "spec", type(raw).__name__, "not plain data", "use maps, lists, text and numbers"
        ) from None


def parse(text: str) -> dict[str, Any]:
    """Plain data from YAML or JSON text.

    Raises:
        SpecError: not YAML, tags, anchors, aliases, duplicate keys, too deep, or no map at the top.
    """
    try:
        _check_events(text)
        raw = yaml.load(text, Loader=_PlainLoader)  # noqa: S506 - a SafeLoader, and the events were checked
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" on line {mark.line + 1}" if mark else ""
        reason = getattr(error, "problem", None) or "unreadable"
        raise SpecError(
            "spec", UNSHOWN, f"not YAML: {reason}{where}", "check the indentation and quotes there"
        ) from None
    except (ValueError, OverflowError) as error:
        raise SpecError("spec", str(error), "a value that cannot be read", "write plain text") from None
    if raw is None:
        raise SpecError("spec", UNSHOWN, "empty", "start with `version: 1` and `problem:`")
    if not isinstance(raw, dict):
        raise SpecError("spec", raw, "not a map", "start with `version: 1` and `problem:`")
    return raw


def _check_events(text: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        line = f"line {event.start_mark.line + 1}"
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            problem = f"anchors and aliases are not accepted, as on {line}"
            raise SpecError("spec", UNSHOWN, problem, "write the value out")
        if getattr(event, "tag", None):
            raise SpecError("spec", event.tag, f"tags are not accepted, as on {line}", "write plain values")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > DEPTH_MAX:
                problem = f"nested deeper than {DEPTH_MAX} levels on {line}"
                raise SpecError("spec", UNSHOWN, problem, "flatten it")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


_ANSATZ_OF = {
    "molecule": "uccsd",
    "pauli": "hardware_efficient",
    "maxcut": "qaoa",
    "qubo": "qaoa",
    "ising": "qaoa",
}


def _with_ansatz(raw: object) -> object:
    """A spec that names no ansatz gets the usual one of its kind of problem."""
    if not isinstance(raw, dict) or raw.get("ansatz") is not None or not isinstance(raw.get("problem"), dict):
        return raw
    kind = _ANSATZ_OF.get(str(raw["problem"].get("kind")))
    return {**raw, "ansatz": {"kind": kind}} if kind else raw


def _check_finite(value: object, path: tuple[str, ...] = ()) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise SpecError(".".join(path), value, "not a finite number", "give a finite number")
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        _check_finite(item, (*path, str(key)))


def override(raw: dict[str, Any], assignment: str) -> None:
    """Set a field of a spec that was not validated yet, as `--set a.b=c` does. Raises SpecError."""
    path, equals, value = assignment.partition("=")
    keys = path.split(".")
    if not equals or not all(keys):
        raise SpecError(
            "--set", assignment, "not of the form a.b=c", "write --set optimizer.max_iterations=50"
        )
    at = raw
    for key in keys[:-1]:
        if at.get(key) is None:
            at[key] = {}
        at = at[key]
        if not isinstance(at, dict):
            raise SpecError("--set", assignment, f"{key} is not a section", "name a field of a section")
    at[keys[-1]] = parse_option("--set", assignment, value)


def parse_option(option: str, given: str, value: str) -> Any:
    """The value, in YAML, of what was `given` to an `option` of the command line. Raises SpecError there."""
    try:
        return parse(f"value: {value}")["value"]
    except SpecError as error:
        problem = error.problem.removesuffix(" on line 1")
        raise SpecError(option, given, problem, "put the value in quotes") from None


_UNIONS = frozenset({"problem", "ansatz", "execution", "generator", "objective", "scan"})
