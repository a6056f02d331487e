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

from shotwise.errors import SpecError
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
                raise SpecError(key, f"line {line}", "the key stands twice", "keep one of them")
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
        raise _spec_error(error) from None
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
        where = f"line {mark.line + 1}" if mark else "spec"
        reason = getattr(error, "problem", None) or "unreadable"
        raise SpecError(
            "spec", where, f"not YAML: {reason}", "check the indentation and quotes there"
        ) from None
    except (ValueError, OverflowError) as error:
        raise SpecError("spec", str(error), "a value that cannot be read", "write plain text") from None
    if not isinstance(raw, dict):
        raise SpecError("spec", type(raw).__name__, "not a map", "start with `version: 1` and `problem:`")
    return raw


def _check_events(text: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        line = f"line {event.start_mark.line + 1}"
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise SpecError("spec", line, "anchors and aliases are not accepted", "write the value out")
        if getattr(event, "tag", None):
            raise SpecError("spec", f"{event.tag} on {line}", "tags are not accepted", "write plain values")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > DEPTH_MAX:
                raise SpecError("spec", line, f"nested deeper than {DEPTH_MAX} levels", "flatten it")
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
            raise SpecError("--set", assignment, f"{key} is no section", "name a field of a section")
    at[keys[-1]] = parse(f"value: {value}")["value"]


_WORDS = {
    "extra_forbidden": ("unknown key", "remove it or correct its spelling"),
    "missing": ("missing", "add it"),
    "union_tag_not_found": ("no kind given", "say which kind it is"),
    "greater_than": ("too small", "give more than {gt}"),
    "greater_than_equal": ("too small", "give at least {ge}"),
    "less_than": ("too large", "give less than {lt}"),
    "less_than_equal": ("too large", "give at most {le}"),
    "too_short": ("too few", "give at least {min_length}"),
    "too_long": ("too many", "give at most {max_length}"),
    "string_too_short": ("too short", "use at least {min_length} characters"),
    "string_too_long": ("too long", "use at most {max_length} characters"),
    "string_type": ("not text", "put it in quotes"),
    "literal_error": ("no choice here", "use {expected}"),
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), ("not a whole number", "give one")),
    **dict.fromkeys(("float_type", "float_parsing"), ("not a number", "give one")),
    **dict.fromkeys(("bool_type", "bool_parsing"), ("neither true nor false", "give one of them")),
    **dict.fromkeys(("tuple_type", "list_type"), ("not a list", "write [a, b]")),
    **dict.fromkeys(("model_type", "dict_type"), ("no section", "write {{key: value}}")),
}
"""What is wrong and the remedy, by pydantic's kind of error; in braces what it tells of it."""


def _spec_error(error: ValidationError) -> SpecError:
    """The first complaint of pydantic in our words: field, value, remedy."""
    first = error.errors(include_url=False)[0]
    field = _field(first["loc"])
    kind, context = first["type"], first.get("ctx", {})
    if kind == "union_tag_invalid":
        return SpecError(
            f"{field}.{str(context.get('discriminator')).strip(chr(39))}",
            str(context.get("tag")),
            "unknown kind",
            f"use one of {context.get('expected_tags')}",
        )
    value = "nothing" if kind in ("missing", "union_tag_not_found") else first["input"]
    value = "this section" if isinstance(value, dict) else value
    if kind in _WORDS:
        problem, remedy = (words.format(**context) for words in _WORDS[kind])
        return SpecError(field, value, problem, remedy)
    problem, _, remedy = first["msg"].removeprefix("Value error, ").partition("; ")  # our own may advise
    return SpecError(field, value, _lower(problem), remedy or "see docs/spec.md")


_UNIONS = frozenset({"problem", "ansatz", "execution", "generator", "objective", "scan"})


def _field(location: Sequence[object]) -> str:
    """A pydantic location as the user wrote it: less the labels that only name a member of a union."""
    parts = [str(part) for part in location]
    parts = [part for part in parts if "[" not in part]  # a member of a union that has no name
    kept = [part for before, part in zip(["", *parts], parts, strict=False) if before not in _UNIONS]
    unlabelled = kept if len(kept) < len(parts) else parts
    return ".".join(unlabelled) or "spec"


def _lower(message: str) -> str:
    return message[:1].lower() + message[1:]
