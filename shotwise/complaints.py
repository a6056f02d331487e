"""What pydantic finds wrong in plain data, in our words: the field, the value, the problem, the remedy."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from shotwise.errors import UNSHOWN

_NAME = r"digits, . _ -; at most 64, starting with a"
_PATTERNS = {
    r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$": f"use letters, {_NAME} letter or digit",
    r"^[a-z0-9][a-z0-9._-]{0,63}$": f"use small letters, {_NAME} small letter or digit",
}
_WORDS = {
    "missing": ("missing", "add it"),
    "greater_than": ("too small", "give more than {gt}"),
    "greater_than_equal": ("too small", "give at least {ge}"),
    "less_than": ("too large", "give less than {lt}"),
    "less_than_equal": ("too large", "give at most {le}"),
    "too_short": ("too few", "give at least {min_length}"),
    "too_long": ("too many", "give at most {max_length}"),
    "string_too_short": ("too short", "use at least {min_length} characters"),
    "string_too_long": ("too long", "use at most {max_length} characters"),
    "string_type": ("not text", "put it in quotes"),
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), ("not a whole number", "give one")),
    **dict.fromkeys(
        ("float_type", "float_parsing", "decimal_type", "decimal_parsing"), ("not a number", "give one")
    ),
    **dict.fromkeys(("bool_type", "bool_parsing"), ("neither true nor false", "give one of them")),
    **dict.fromkeys(("tuple_type", "list_type"), ("not a list", "write [a, b]")),
    **dict.fromkeys(
        ("model_type", "dict_type", "model_attributes_type"), ("not a section", "write {{key: value}}")
    ),
}
"""What is wrong and the remedy, by pydantic's kind of error; in braces what it tells of it."""
_KINDS = ("kind", "mode", "name")
"""Fields by which the members of a union are told apart."""
_SCALARS = ("int", "float", "bool", "str")
"""Labels of pydantic for the members of a union of plain values."""


class Complaint(NamedTuple):
    """One line's worth of what is wrong.

    Attributes:
        field: dotted path; empty where the whole is meant.
        value: `UNSHOWN` where it is a section, or missing.
    """

    field: str
    value: object
    problem: str
    remedy: str


def complaint(
    error: ValidationError, model: type[BaseModel], manual: str, labelled: frozenset[str] = frozenset()
) -> Complaint:
    """The first thing that is wrong; a key that is not known explains another that is missing.

    Args:
        model: what was validated.
        manual: where to read on, for what has no remedy of its own.
        labelled: fields that are unions of sections: pydantic names the member in the place after them.
    """
    errors = error.errors(include_url=False)
    first = errors[0]
    if first["type"] == "missing":
        beside = [e for e in errors if e["type"] == "extra_forbidden" and e["loc"][:-1] == first["loc"][:-1]]
        first = beside[0] if beside else first
    place = _Place(model, first["loc"], labelled)
    kind, context, value = first["type"], first.get("ctx", {}), first["input"]
    shown = UNSHOWN if isinstance(value, dict | BaseModel) or kind == "missing" else value
    if kind == "union_tag_invalid":
        field = f"{place.field}.{_discriminator(context)}"
        return Complaint(
            field, str(context.get("tag")), "unknown kind", f"use one of {context.get('expected_tags')}"
        )
    if kind == "union_tag_not_found":
        tags = ", ".join(repr(tag) for each in place.members for tag in _tags(each))
        return Complaint(f"{place.field}.{_discriminator(context)}", UNSHOWN, "missing", f"use one of {tags}")
    if kind == "extra_forbidden":
        return Complaint(place.field, shown, *_unknown_key(place, str(first["loc"][-1])))
    if kind == "literal_error" or place.member is not None:
        return _no_choice(errors, place, first, context)
    if kind == "string_pattern_mismatch":
        return Complaint(place.field, shown, "not of the right form", _pattern_words(context["pattern"]))
    if kind in _WORDS:
        problem, remedy = (words.format(**context) for words in _WORDS[kind])
        return Complaint(place.field, shown, problem, _nearer_remedy(kind, value, place) or remedy)
    problem, _, remedy = first["msg"].removeprefix("Value error, ").partition("; ")  # our own may advise
    return Complaint(place.field, shown, problem[:1].lower() + problem[1:], remedy or manual)


class _Place:
    """A pydantic location: the field as the user wrote it, and what the models say of it.

    Attributes:
        sections: the section that the last part is in; several where pydantic has not chosen among them.
        others: the members of the same union beside that section.
        info: the field itself, where it is known.
        members: the sections that its value may be.
        member: position of the label of a member of a union that has no name; None where there is none.
    """

    def __init__(
        self, model: type[BaseModel], location: Sequence[int | str], labelled: frozenset[str]
    ) -> None:
        self.sections: list[type[BaseModel]] = [model]
        self.others: list[type[BaseModel]] = []
        self.info: FieldInfo | None = None
        self.member: int | None = None
        kept: list[str] = []
        below, before, rest = self.sections, "", []
        for at, part in enumerate(map(str, location)):
            last = at == len(location) - 1
            if "[" in part or (last and at and part in _SCALARS):
                self.member = at if "[" in part and self.member is None else self.member
            elif before in labelled:
                chosen = [each for each in below if part in _tags(each)] or below
                rest, below = [each for each in below if each not in chosen], chosen
            else:
                self.sections, self.others, rest = below, rest, []
                self.info = next((found for each in below if (found := _field(each, part))), None)
                below = list(_models(self.info.annotation)) if self.info else below
                kept.append(part)
            before = part
        self.field, self.members = ".".join(kept), below


def _discriminator(context: dict[str, Any]) -> str:
    """The name of the field that tells a union's members apart, which pydantic quotes."""
    return str(context.get("discriminator")).strip("'")


def _unknown_key(place: _Place, key: str) -> tuple[str, str]:
    own = [name for each in place.sections for name in _names(each)]
    elsewhere = {each: list(_names(each)) for each in place.others}
    if having := [_label(each) for each, names in elsewhere.items() if key in names]:
        return f"no field of {_label(place.sections[0])}", f"remove it, or use {' or '.join(having)}"
    names = own + [name for names in elsewhere.values() for name in names]
    if close := difflib.get_close_matches(key, names, n=1):
        return "unknown key", f"did you mean `{close[0]}`?"
    return "unknown key", "remove it or correct its spelling"


def _no_choice(
    errors: Sequence[ErrorDetails], place: _Place, first: ErrorDetails, context: dict[str, Any]
) -> Complaint:
    """A value that is none of the choices; of a union, every member's choices are told."""
    choices, listed = _choices(place.info.annotation) if place.info else ([], [])
    if place.member is None or not choices:
        remedy = f"use {context['expected']}" if "expected" in context else "see what it may be"
        return Complaint(place.field, first["input"], "not one of the choices", remedy)
    cut = first["loc"][: place.member]
    deeper = [e for e in errors if e["loc"][: place.member] == cut and len(e["loc"]) > place.member + 1]
    value = deeper[0]["input"] if deeper and listed else first["input"]
    lists = f", or a list of {', '.join(listed)}" if listed else ""
    return Complaint(
        place.field, value, "not one of the choices", f"use {' or '.join(map(repr, choices))}{lists}"
    )


def _nearer_remedy(kind: str, value: object, place: _Place) -> str | None:
    """What to write instead, where the value tells what was meant."""
    if kind.startswith("int") and isinstance(value, float) and value.is_integer():
        return f"write {int(value)}"
    if kind.startswith(("int", "float")) and isinstance(value, str) and re.fullmatch(r"-?\d{1,18}", value):
        return f"write {value} without quotes"
    if value is None and place.info is not None and not place.info.is_required():
        default = place.info.get_default(call_default_factory=True)
        if isinstance(default, BaseModel):
            return (
                f"leave it out for the default; --set '{place.field}={_shortest(default)}' resets the file's"
            )
        return "leave it out for the default"
    return None


def _shortest(section: BaseModel) -> str:
    """A section of defaults as it is written: with its kind, where it has one."""
    kind = next((name for name in _KINDS if name in type(section).model_fields), None)
    return "{}" if kind is None or len(_tags(type(section))) != 1 else f"{{{kind}: {getattr(section, kind)}}}"


def _pattern_words(pattern: str) -> str:
    if words := _PATTERNS.get(pattern):
        return words
    if choices := re.fullmatch(r"\^\(([^()]*)\)\$", pattern):
        *others, last = [re.sub(r"^run:.*", "run:RUN_ID", each) for each in choices[1].split("|")]
        return f"use {', '.join(others)} or {last}"
    return f"use what matches {pattern}"


def _field(model: type[BaseModel], name: str) -> FieldInfo | None:
    return next((f for own, f in model.model_fields.items() if name == (f.alias or own)), None)


def _names(model: type[BaseModel]) -> Iterator[str]:
    return (field.alias or name for name, field in model.model_fields.items())


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """The sections that a type is made of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)


def _tags(model: type[BaseModel]) -> tuple[str, ...]:
    """What a section's `kind`, `mode` or `name` may be; without one, the names of its fields."""
    for name in _KINDS:
        if name in model.model_fields and get_origin(model.model_fields[name].annotation) is Literal:
            return get_args(model.model_fields[name].annotation)
    return tuple(_names(model))


def _label(model: type[BaseModel]) -> str:
    """A section as the user chose it: `mode: shots`."""
    named = next((name for name in _KINDS if name in model.model_fields), None)
    return f"{named}: {_tags(model)[0]}" if named else f"one with {_tags(model)[0]}"


def _choices(annotation: Any) -> tuple[list[object], list[str]]:
    """The values of a type, and those of which it may be a list."""
    if get_origin(annotation) is Literal:
        return list(get_args(annotation)), []
    if get_origin(annotation) is tuple:
        return [], [str(each) for part in get_args(annotation) for each in _choices(part)[0]]
    parts = [_choices(part) for part in get_args(annotation)]
    return [v for own, _ in parts for v in own], [v for _, listed in parts for v in listed]
