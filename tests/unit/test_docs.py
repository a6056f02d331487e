"""The reference pages name every command, option, spec field and catalog field; no link is dead."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import click
import pytest
from pydantic import BaseModel

from backends.catalog import DeviceDescription
from backends.catalog.description import QueueModel
from backends.prices import Price
from flows.cli import cli
from optimizers import adaptive_descent, bayes_newton, lbfgs, natural_gradient, spsa
from shotwise.spec import SHOT_CHOOSERS, RunSpec

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", *DOCS.rglob("*.md")])


def in_code(page: str) -> set[str]:
    """The words of a page that stand in code, inline or in blocks."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return set(re.findall(r"[\w.-]+", " ".join(re.findall(r"```.*?```|`[^`\n]+`", text, re.DOTALL))))


def commands(command: click.Command, path: str = "") -> Iterator[tuple[str, click.Command]]:
    if isinstance(command, click.Group):
        for name, below in command.commands.items():
            yield from commands(below, f"{path} {name}".strip())
    else:
        yield path, command


def sections(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models that a type is made of, unions and their members' fields included."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        for field in annotation.model_fields.values():
            yield from sections(field.annotation)
    for part in get_args(annotation):
        yield from sections(part)


@pytest.mark.parametrize(("path", "command"), list(commands(cli)), ids=str)
def test_every_command_and_option_is_in_the_reference(path: str, command: click.Command) -> None:
    text = (DOCS / "commands.md").read_text(encoding="utf-8")
    rows = re.findall(rf"^\| `{path}[ `].*$", text, re.MULTILINE)
    (told,) = rows or [part for part in text.split("\n## ") if f"\n`{path}" in part]
    options = [max(p.opts, key=len) for p in command.params if isinstance(p, click.Option)]
    assert [name for name in options if not re.search(rf"`[^`]*{name}[ `]", told)] == []


def test_every_field_of_a_spec_is_in_its_page() -> None:
    fields = {f.alias or name for model in sections(RunSpec) for name, f in model.model_fields.items()}
    assert fields - in_code("spec.md") == set()


def test_every_optimizer_option_is_in_the_page_of_the_spec() -> None:
    tables = (adaptive_descent, bayes_newton, lbfgs, natural_gradient, spsa)
    named = {"lbfgs", "qng", "rotosolve", "spsa", *SHOT_CHOOSERS}.union(*(m.OPTIONS for m in tables))
    assert named - in_code("spec.md") == set()


def test_every_field_of_a_catalog_is_in_its_page() -> None:
    fields = {name for m in (DeviceDescription, Price, QueueModel) for name in m.model_fields}
    assert fields - {"name"} - in_code("configuration.md") == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_link_is_dead(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]+))?\)", page.read_text(encoding="utf-8"))
    for target, heading in links:
        linked = (page.parent / target).resolve() if target else page
        assert linked.exists(), target
        if heading:
            assert heading in headings(linked), f"{target}#{heading}"


def headings(page: Path) -> set[str]:
    """The anchors of a page, as GitHub makes them of its headings."""
    found = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in found}
